package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A benchCase is one workload, and what it is compared with.
type benchCase struct {
	name    string
	metrics []metric

	// run does the workload and its peers once, each in processes of their own
	// that end with it. In odd rounds the peers go first, so that neither
	// always has the warmer machine. The readings are in the order of metrics.
	run func(ctx context.Context, round int) ([]reading, error)
}

// A metric is something that a case measures.
type metric struct {
	name string
	unit unit
	peer string // what it is compared with; empty if with nothing
	goal goal
}

// A reading is what one round says of one metric, in its unit. theirs is zero
// without a peer.
type reading struct{ ours, theirs float64 }

// sizes are how large the workloads are.
type sizes struct {
	forming  []int // nodes
	rivals   int   // the one of forming that is compared with memberlist
	nodes    int   // processes of noticing and idling
	idleSecs int
	links    int // of memory

	talk  time.Duration // how long each kind of talking is measured
	mixed time.Duration // and how long small beside large
	casts int           // messages that are broadcast
}

// fullSizes are those that the goals are about.
func fullSizes() sizes {
	return sizes{
		forming: []int{50, 100, 140}, rivals: 50, nodes: 20, idleSecs: 20, links: 1000,
		talk: 2 * time.Second, mixed: 5 * time.Second, casts: 500,
	}
}

// smokeSizes only show that everything can be measured.
func smokeSizes() sizes {
	return sizes{
		forming: []int{8}, rivals: 8, nodes: 4, idleSecs: 2, links: 50,
		talk: 50 * time.Millisecond, mixed: 300 * time.Millisecond, casts: 20,
	}
}

// cases are all workloads.
func cases(s sizes) []benchCase {
	var all []benchCase
	for _, n := range s.forming {
		all = append(all,
			formingCase(n, defaultExchange, 1.15, n == s.rivals),
			formingCase(n, x25519, 1.3, false))
	}
	all = append(all,
		noticingCase(s.nodes, false, 0.005), noticingCase(s.nodes, true, 0.020),
		idlingCase(s.nodes, s.idleSecs),
		memoryCase(s.links))
	return append(all, talkingCases(s)...)
}

// measure runs the cases in turn, so many rounds, and says what it does. After each
// round it has report write all readings so far. A case that fails is left out of its
// round; the error joins those of all that did.
func measure(ctx context.Context, all []benchCase, rounds int, say func(string), report func(r *report, end bool) error) error {
	results := make([][]result, len(all))
	for i, c := range all {
		results[i] = newResults(c)
	}
	var failed []error
	for round := range rounds {
		for i, c := range all {
			if ctx.Err() != nil {
				break
			}
			say(fmt.Sprintf("round %d of %d: %s", round+1, rounds, c.name))
			readings, err := c.run(ctx, round)
			if err != nil {
				err = fmt.Errorf("round %d: %s: %w", round+1, c.name, err)
				say(err.Error())
				failed = append(failed, err)
				continue
			}
			for j, r := range readings {
				results[i][j].add(r)
			}
		}
		end := round+1 == rounds || ctx.Err() != nil
		if err := report(newReport(slices.Concat(results...), round+1), end); err != nil {
			return errors.Join(append(failed, err)...)
		}
		if end {
			break
		}
	}
	return errors.Join(append(failed, ctx.Err())...)
}

// inTurn runs one after the other, ours first; in odd rounds the other way
// round.
func inTurn(round int, all ...func() error) error {
	if round%2 == 1 {
		slices.Reverse(all)
	}
	for _, f := range all {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
