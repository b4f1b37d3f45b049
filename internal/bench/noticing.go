package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	noticeWithin = 30 * time.Second

	// loadFor is how long there is load before a process is killed.
	loadFor = 2 * time.Second
	// calm is how long nodes that have linked are left alone first.
	calm = 3 * time.Second
)

// noticingCase kills one of n processes, and measures until the last of the
// others has noticed.
func noticingCase(n int, load bool, most float64) benchCase {
	name := fmt.Sprintf("noticing kill -9 of one of %d", n)
	if load {
		name += " under load"
	}
	return benchCase{
		name:    name,
		metrics: []metric{{name: "time until the last knows", unit: unitSeconds, peer: kindBare, goal: atMost(most)}},
		run: func(ctx context.Context, round int) ([]reading, error) {
			var ours, theirs time.Duration
			err := inTurn(round,
				func() (err error) { ours, err = notice(ctx, n, kindMesh, load); return err },
				func() (err error) { theirs, err = notice(ctx, n, kindBare, load); return err })
			return []reading{{ours.Seconds(), theirs.Seconds()}}, err
		},
	}
}

// notice returns the time from the kill until the last survivor noticed it.
func notice(ctx context.Context, n int, kind string, load bool) (time.Duration, error) {
	nodes, err := startNodes(ctx, n, kind)
	if err != nil {
		return 0, err
	}
	defer nodes.stop()
	wait := calm
	if load {
		wait = loadFor
		if err := nodes.begin("Node.Load", none, none)(); err != nil {
			return 0, err
		}
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if load {
		if err := underLoad(nodes); err != nil {
			return 0, err
		}
	}
	victim, survivors := nodes[0], nodes[1:]
	at := make([]time.Duration, len(survivors))
	// Asked before, so that asking doesn't get in the way.
	noticed := survivors.begin("Node.Down", none, func(i int) any { return &at[i] })
	killed, err := monotonic()
	if err := errors.Join(err, victim.kill()); err != nil {
		return 0, err
	}
	if err := noticed(); err != nil {
		return 0, err
	}
	last := time.Duration(0)
	for _, t := range at {
		if t < killed {
			return 0, errors.New("a link ended before the kill")
		}
		last = max(last, t-killed)
	}
	return last, nil
}

// underLoad fails if a node gets nothing.
func underLoad(nodes crowd) error {
	got := make([]int64, len(nodes))
	if err := nodes.begin("Node.Received", none, func(i int) any { return &got[i] })(); err != nil {
		return err
	}
	for i, bytes := range got {
		if bytes == 0 {
			return fmt.Errorf("node %d of %d gets nothing under load", i, len(nodes))
		}
	}
	return nil
}
