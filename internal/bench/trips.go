package main

import (
	"context"
	"slices"
	"time"
)

// tripSize is how many bytes go each way.
const tripSize = 64

// trips is what round trips have come to.
type trips struct {
	p50, p99 float64 // seconds
	rate     float64 // a second
	cpu      float64 // seconds of both processes, a trip
	allocs   float64 // of the process that asks, a trip: one Send and one delivery
}

// tripsCase sends something there and back, one at a time. By Request, the mesh
// does for the program what it would have to do itself with messages, and what
// the peers' programs do here: they send back what has come.
func tripsCase(request bool, d time.Duration) benchCase {
	p50 := func(t trips) float64 { return t.p50 }
	rate := func(t trips) float64 { return t.rate }
	name, twice := "round trips by messages, 64 B", goal{}
	if request {
		name, twice = "round trips by Request, 64 B", atLeast(2).ofPeer()
	}
	all := []measured[trips]{
		{metric{"p50", unitSeconds, kindFloor, atMost(1.05).ofPeer()}, p50},
		{metric{"p99", unitSeconds, kindFloor, goal{}}, func(t trips) float64 { return t.p99 }},
		{metric{"CPU of a trip", unitSeconds, kindFloor, goal{}}, func(t trips) float64 { return t.cpu }},
		{metric{"trips", unitRate, kindGRPC, twice}, rate},
		{metric{"trips", unitRate, kindNATS, goal{}}, rate},
		{metric{"trips", unitRate, kindYamux, goal{}}, rate},
	}
	if !request {
		all = append(all, measured[trips]{
			metric{"allocations a trip, one side", unitCount, kindFloor, goal{}},
			func(t trips) float64 { return t.allocs },
		})
	}
	return besideCase(name, all, func(ctx context.Context, kind string) (trips, error) {
		return measureTrips(ctx, kind, TripArgs{Request: request && kind == kindMesh, For: d})
	})
}

func measureTrips(ctx context.Context, kind string, args TripArgs) (trips, error) {
	p, err := startPair(ctx, kind)
	if err != nil {
		return trips{}, err
	}
	defer p.stop()
	warm := args
	warm.For = warmUp(args.For)
	if err := p.from.call("Talk.Trips", warm, new([]time.Duration)); err != nil {
		return trips{}, err
	}
	used, err := p.usage()
	if err != nil {
		return trips{}, err
	}
	var took []time.Duration
	if err := p.from.call("Talk.Trips", args, &took); err != nil {
		return trips{}, err
	}
	after, err := p.usage()
	n := float64(len(took))
	t := trips{
		rate:   n / args.For.Seconds(),
		cpu:    cpuSince(used, after).Seconds() / n,
		allocs: float64(after[0].Mallocs-used[0].Mallocs) / n,
	}
	t.p50, t.p99 = quantile(took, 0.5).Seconds(), quantile(took, 0.99).Seconds()
	return t, err
}

// quantile is the least value that a share of all doesn't surpass. It needs at
// least one.
func quantile(all []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
