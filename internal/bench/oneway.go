package main

import (
	"context"
	"fmt"
	"time"
)

// oneWayGoals are multiples of the peers' messages a second, and of the floor's
// CPU a message. Zero is no goal.
type oneWayGoals struct{ rate, cpu, overGRPC, overNATS float64 }

// leastOfPeer is no goal if the limit is zero.
func leastOfPeer(limit float64) goal {
	if limit == 0 {
		return goal{}
	}
	return atLeast(limit).ofPeer()
}

// A flood is what messages in one direction have come to.
type flood struct {
	rate              float64 // that have come, a second
	cpu               float64 // seconds of all processes, a message
	sends, deliveries float64 // allocations of the sender and of the receiver, a message
}

// oneWayCase has senders in one process send as fast as they can to a handler in
// another.
func oneWayCase(size, senders int, d time.Duration, g oneWayGoals) benchCase {
	name := "one way, " + sizeName(size)
	if senders > 1 {
		name += fmt.Sprintf(", %d senders", senders)
	}
	rate := func(f flood) float64 { return f.rate }
	cpu := func(f flood) float64 { return f.cpu }
	all := []measured[flood]{
		{metric{"messages", unitRate, kindFloor, leastOfPeer(g.rate)}, rate},
		{metric{"CPU of a message", unitSeconds, kindFloor, atMost(g.cpu).ofPeer()}, cpu},
		{metric{"messages", unitRate, kindGRPC, leastOfPeer(g.overGRPC)}, rate},
		{metric{"messages", unitRate, kindNATS, leastOfPeer(g.overNATS)}, rate},
		{metric{"messages", unitRate, kindYamux, goal{}}, rate},
	}
	if senders == 1 && size <= kib {
		// Small parts of one are what TLS allocates for each record, pings, and
		// the runtime.
		all = append(all,
			measured[flood]{metric{"allocations of a Send", unitCount, kindFloor, atMost(0.05)}, func(f flood) float64 { return f.sends }},
			measured[flood]{metric{"allocations of a delivery", unitCount, kindFloor, atMost(1.05)}, func(f flood) float64 { return f.deliveries }})
	}
	return besideCase(name, all, func(ctx context.Context, kind string) (flood, error) {
		return measureFlood(ctx, kind, FloodArgs{Size: size, Senders: senders, For: d})
	})
}

func sizeName(size int) string {
	switch {
	case size >= mib:
		return fmt.Sprintf("%d MiB", size/mib)
	case size >= kib:
		return fmt.Sprintf("%d KiB", size/kib)
	default:
		return fmt.Sprintf("%d B", size)
	}
}

func measureFlood(ctx context.Context, kind string, args FloodArgs) (flood, error) {
	p, err := startPair(ctx, kind)
	if err != nil {
		return flood{}, err
	}
	defer p.stop()
	warm := args
	warm.For = warmUp(args.For)
	before, _, err := p.flood(warm)
	if err != nil {
		return flood{}, err
	}
	used, err := p.usage()
	if err != nil {
		return flood{}, err
	}
	sent, arrived, err := p.flood(args)
	if err != nil {
		return flood{}, err
	}
	after, err := p.usage()
	n := float64(sent.Total - before.Total)
	return flood{
		rate:       n / (arrived - sent.Began).Seconds(),
		cpu:        cpuSince(used, after).Seconds() / n,
		sends:      float64(after[0].Mallocs-used[0].Mallocs) / n,
		deliveries: float64(after[1].Mallocs-used[1].Mallocs) / n,
	}, err
}

// flood has from send for a while, and waits until all has come. It returns when
// the last one came.
func (p *pair) flood(args FloodArgs) (sent Sent, arrived time.Duration, err error) {
	if err := p.from.call("Talk.Flood", args, &sent); err != nil {
		return sent, 0, err
	}
	err = p.to.call("Talk.Arrived", sent.Total, &arrived)
	return sent, arrived, err
}
