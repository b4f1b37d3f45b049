package main

import (
	"context"
	"fmt"
	"time"
)

// idlingCase measures what n processes use that are linked and do nothing.
func idlingCase(n, secs int) benchCase {
	return benchCase{
		name:    fmt.Sprintf("idling, %d nodes", n),
		metrics: []metric{{name: "CPU of a node", unit: unitShare, goal: atMost(0.001)}},
		run: func(ctx context.Context, _ int) ([]reading, error) {
			nodes, err := startNodes(ctx, n, kindMesh)
			if err != nil {
				return nil, err
			}
			defer nodes.stop()
			before, err := usedAfter(ctx, nodes, calm)
			if err != nil {
				return nil, err
			}
			began := time.Now()
			after, err := usedAfter(ctx, nodes, time.Duration(secs)*time.Second)
			if err != nil {
				return nil, err
			}
			used := (after - before).Seconds() / time.Since(began).Seconds() / float64(n)
			return []reading{{ours: used}}, nil
		},
	}
}

// usedAfter waits, and returns what all processes have used by then.
func usedAfter(ctx context.Context, nodes crowd, d time.Duration) (sum time.Duration, err error) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	used := make([]time.Duration, len(nodes))
	if err := nodes.begin("Node.CPU", none, func(i int) any { return &used[i] })(); err != nil {
		return 0, err
	}
	for _, u := range used {
		sum += u
	}
	return sum, nil
}
