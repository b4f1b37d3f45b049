package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// talkingCases are the workloads of two or more processes that talk.
func talkingCases(s sizes) []benchCase {
	return []benchCase{
		oneWayCase(64, 1, s.talk, oneWayGoals{rate: 1.1, cpu: 0.8, overGRPC: 8, overNATS: 4}),
		oneWayCase(64, 8, s.talk, oneWayGoals{rate: 1.1, cpu: 0.8, overGRPC: 8, overNATS: 4}),
		oneWayCase(kib, 1, s.talk, oneWayGoals{rate: 0.9, cpu: 1.1}),
		oneWayCase(kib, 8, s.talk, oneWayGoals{rate: 0.9, cpu: 1.1}),
		oneWayCase(64*kib, 1, s.talk, oneWayGoals{rate: 0.9, cpu: 1.15}),
		oneWayCase(64*kib, 8, s.talk, oneWayGoals{rate: 0.9, cpu: 1.15}),
		tripsCase(true, s.talk),
		tripsCase(false, s.talk),
		mixedCase(s.mixed),
		streamsCase(s.talk),
		broadcastCase(s.nodes, s.casts),
	}
}

// A measured is a metric, and where its value is in what a run of T returns.
type measured[T any] struct {
	metric
	value func(T) float64
}

// besideCase measures the mesh, and with the same run all that its metrics name
// as peers.
func besideCase[T any](name string, all []measured[T], run func(ctx context.Context, kind string) (T, error)) benchCase {
	c := benchCase{name: name}
	kinds := []string{kindMesh}
	for _, m := range all {
		c.metrics = append(c.metrics, m.metric)
		if m.peer != "" && !slices.Contains(kinds, m.peer) {
			kinds = append(kinds, m.peer)
		}
	}
	c.run = func(ctx context.Context, round int) ([]reading, error) {
		found := make(map[string]T)
		var turns []func() error
		for _, kind := range kinds {
			turns = append(turns, func() error {
				t, err := run(ctx, kind)
				if err != nil {
					return fmt.Errorf("%s: %w", kind, err)
				}
				found[kind] = t
				return nil
			})
		}
		if err := inTurn(round, turns...); err != nil {
			return nil, err
		}
		var readings []reading
		for _, m := range all {
			r := reading{ours: m.value(found[kindMesh])}
			if m.peer != "" {
				r.theirs = m.value(found[m.peer])
			}
			readings = append(readings, r)
		}
		return readings, nil
	}
	return c
}

// talkWithin is how long anything may take beyond the time that it is measured.
const talkWithin = 30 * time.Second

// warmUp is for how long a workload is done before it is measured for d: pools,
// buffers and TCP's windows grow in it.
func warmUp(d time.Duration) time.Duration { return d / 8 }

// A pair is two processes that talk, and what they need for it.
type pair struct {
	from, to *process // from dials
	all      crowd
}

func (p *pair) stop() { p.all.stop() }

// startPair starts two processes that are connected; three for NATS, whose users
// have its server in a process of its own.
func startPair(ctx context.Context, kind string) (p *pair, err error) {
	n := 2
	if kind == kindNATS {
		n = 3
	}
	all, err := startCrowd(ctx, n)
	if err != nil {
		return nil, err
	}
	p = &pair{from: all[0], to: all[1], all: all}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	at := TalkArgs{Kind: kind}
	if kind == kindNATS {
		if err := all[2].call("Talk.Serve", false, &at.Addr); err != nil {
			return nil, err
		}
	}
	if err := p.to.call("Talk.Listen", at, &at.Addr); err != nil {
		return nil, err
	}
	return p, p.from.call("Talk.Dial", at, new(nothing))
}

// usage is what each process has used: from, to, and further ones.
func (p *pair) usage() ([]Usage, error) {
	all := make([]Usage, len(p.all))
	err := p.all.begin("Talk.Usage", none, func(i int) any { return &all[i] })()
	return all, err
}

// cpuSince is what all processes have used since before.
func cpuSince(before, after []Usage) (sum time.Duration) {
	for i := range before {
		sum += after[i].CPU - before[i].CPU
	}
	return sum
}
