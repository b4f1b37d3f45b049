package main

import (
	"context"
	"time"
)

// largeSize is how many bytes each large message has.
const largeSize = 16 * mib

// mixed is what small requests have come to while large messages go both ways.
type mixed struct {
	p50, p99 float64 // seconds
	flow     float64 // bytes a second of large messages, both ways together
	missed   float64 // heartbeats
	downs    float64 // links that were given up
}

// mixedCase asks for 64 bytes, one at a time, while one sender a side sends large
// messages as fast as it can. gRPC and yamux have a stream for each.
func mixedCase(d time.Duration) benchCase {
	p50 := func(m mixed) float64 { return m.p50 }
	p99 := func(m mixed) float64 { return m.p99 }
	flow := func(m mixed) float64 { return m.flow }
	all := []measured[mixed]{
		{metric{"p50", unitSeconds, kindGRPC, atMost(0.002)}, p50},
		{metric{"p99", unitSeconds, kindGRPC, atMost(0.025)}, p99},
		{metric{"p50", unitSeconds, kindYamux, goal{}}, p50},
		{metric{"p99", unitSeconds, kindYamux, goal{}}, p99},
		{metric{"large bytes", unitFlow, kindGRPC, goal{}}, flow},
		{metric{"large bytes", unitFlow, kindYamux, goal{}}, flow},
		{metric{"heartbeats missed", unitCount, "", atMost(0)}, func(m mixed) float64 { return m.missed }},
		{metric{"links given up", unitCount, "", atMost(0)}, func(m mixed) float64 { return m.downs }},
	}
	return besideCase("request of 64 B beside 16 MiB both ways", all,
		func(ctx context.Context, kind string) (mixed, error) { return measureMixed(ctx, kind, d) })
}

func measureMixed(ctx context.Context, kind string, d time.Duration) (mixed, error) {
	p, err := startPair(ctx, kind)
	if err != nil {
		return mixed{}, err
	}
	defer p.stop()
	if err := p.from.call("Talk.Pour", false, new(nothing)); err != nil {
		return mixed{}, err
	}
	args := TripArgs{Request: kind == kindMesh, For: warmUp(d)}
	if err := p.from.call("Talk.Trips", args, new([]time.Duration)); err != nil {
		return mixed{}, err
	}
	before, err := p.usage()
	if err != nil {
		return mixed{}, err
	}
	args.For = d
	var took []time.Duration
	if err := p.from.call("Talk.Trips", args, &took); err != nil {
		return mixed{}, err
	}
	after, err := p.usage()
	if err != nil {
		return mixed{}, err
	}
	m := mixed{p50: quantile(took, 0.5).Seconds(), p99: quantile(took, 0.99).Seconds()}
	for i := range after {
		m.flow += float64(after[i].Bytes-before[i].Bytes) / (after[i].At - before[i].At).Seconds()
	}
	m.missed, m.downs = silences(before, after)
	return m, nil
}

// silences are how often one of the processes has heard nothing from the other for
// a heartbeat, and how often for so long that the link was given up.
func silences(before, after []Usage) (missed, downs float64) {
	for i := range after {
		downs += float64(after[i].Downs) // one before would have ended what is measured
		missed += float64(after[i].Pings - before[i].Pings)
	}
	return missed + downs, downs
}
