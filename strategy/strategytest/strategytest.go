// Package strategytest checks that a [cluster.Strategy] keeps its contract.
//
//	strategytest.Test(t, strategytest.Harness{New: func(t testing.TB, nodes ...cluster.Node) strategytest.Source {
//		f := newFile(t, nodes)
//		faults := map[string]strategytest.Fault{"gone": {Break: f.Remove, Mend: f.Restore}}
//		return strategytest.Source{Strategy: hostsfile.Strategy{Path: f.Path}, Set: f.Write, Faults: faults}
//	}})
//
// Every rule is a sub-test that bears it as a name, with one more level for the
// faults. A rule that doesn't apply is skipped with the reason that the harness
// gives in [Cannot].
//
// The strategy is run as a supervisor runs it: if it has Validate, that is
// called first, and a Run that returns an error has failed, which is as good as
// a Fail, and is run again. A Run that panics breaks every rule.
//
// # Time
//
// Sources may be real. The suite then waits in real time, at most
// [Harness.Within] for each thing that must happen. If the source and the
// strategy do no I/O, [Harness.Bubble] runs each check in a bubble of
// testing/synctest, where no time is lost and timing is exact. Test itself can't
// be called in a bubble, since it has sub-tests.
//
// # Goroutines
//
// That none is left is found out by a label of runtime/pprof, which goroutines
// inherit from the Run that starts them. So the goroutines of a source, such as
// a server's, and those of tests beside are nobody's leak, for which a package
// that compares all goroutines before and after, such as goleak, would take
// them. A strategy that keeps connections of net/http idle leaves their
// goroutines, and has to close them.
//
// A goroutine of a timer has no label. One that lives a second after Run has
// returned is found out by its ancestry, except with [Harness.Parallel], where it
// may be another check's.
//
// # Concurrency
//
// A Source's funcs are called one at a time, from the goroutine of the test,
// mostly while the strategy runs. With [Harness.Parallel], this holds for each
// source, and New is called from several goroutines.
package strategytest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

// A Harness says how one kind of strategy is tested. Only New must be given.
type Harness struct {
	// New makes a source that says nodes, and a strategy that asks it. It is
	// called for every check anew; t ends with the check. Some of the nodes may
	// be the first of Nodes, which is this node, or be there twice.
	New func(t testing.TB, nodes ...cluster.Node) Source

	// Nodes are four nodes that the source can say, in canonical form. The first
	// is this node. Nil means 10.0.0.1:4370 to 10.0.0.4:4370.
	Nodes []cluster.Node

	// Hints says that the strategy has no complete answers: it calls Add, and
	// never Replace. False means that each answer is a Replace.
	Hints bool

	// Ends says that Run returns nil after the first answer. False means that it
	// doesn't return until its context is done.
	Ends bool

	// Cannot says what the source isn't able to do, and why.
	Cannot Cannot

	// Bubble runs each check in a bubble of testing/synctest.
	Bubble bool

	// Parallel runs the checks side by side, as many as go test's -parallel says:
	// for sources that New makes apart from each other, with strategies that
	// mostly wait. It excludes Bubble. Goroutines of timers aren't checked then.
	Parallel bool

	// Within is how long is waited for what must happen: an answer, a Fail. Zero
	// means 10 s. It should be several times what a good strategy may need, as
	// it costs nothing if all is well.
	Within time.Duration

	// Quiet is how long the suite looks on for what must not happen: that a
	// fault, after it has been told, leads to an answer too, or that Run
	// returns. Nothing can tell that it won't come, so that this time is spent;
	// a polled source should be asked a few times in it. Cancels at random come
	// within it, too. Zero means 100 ms.
	Quiet time.Duration
}

// A Source is what a strategy asks, and the strategy.
type Source struct {
	// Strategy asks the source. The same value is run again, and by two at once.
	Strategy cluster.Strategy

	// Set makes the source say nodes from now on, in one step as far as it can.
	// The others are gone for good: a strategy that still keeps one, as not ready
	// say, is wrong. It isn't called during a fault. Nil is for those that can't
	// change.
	Set func(nodes ...cluster.Node)

	// Faults are the ways in which the source can fail, by name; the names are
	// the same each time. At most one is broken at a time.
	Faults map[string]Fault
}

// A Fault is a way in which a source can fail.
type Fault struct {
	// Break makes it fail, at the latest when Break has returned.
	Break func()

	// Mend undoes that: the source says again what it said before.
	Mend func()
}

// Cannot says what a source isn't able to do. Each is the reason, with which the
// rules that need it are skipped; empty means that it can.
type Cannot struct {
	Change string // say something else later
	Fail   string // be broken
	Empty  string // say that there is nobody
	Self   string // list this node
	Repeat string // list a node twice
}

// Test checks every rule of the contract, each in a sub-test.
func Test(t *testing.T, h Harness) {
	t.Helper()
	h, err := h.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	h.run(t, func(t testing.TB) {
		src := h.New(t, h.Nodes...)
		if err := h.validate(src); err != nil {
			t.Fatal(err)
		}
		faults = slices.Sorted(maps.Keys(src.Faults))
	})
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if why := r.skip(h.Cannot); why != "" {
				t.Skip(why)
			}
			h.beside(t)
			if !r.faulty {
				h.run(t, func(t testing.TB) { r.check(newStage(t, h, "")) })
				return
			}
			for _, fault := range faults {
				t.Run(fault, func(t *testing.T) {
					h.beside(t)
					h.run(t, func(t testing.TB) { r.check(newStage(t, h, fault)) })
				})
			}
		})
	}
}

// beside lets a sub-test run beside others, if it may.
func (h Harness) beside(t *testing.T) {
	if h.Parallel {
		t.Parallel()
	}
}

// run calls f, in a bubble if there is to be one.
func (h Harness) run(t *testing.T, f func(testing.TB)) {
	t.Helper()
	if h.Bubble {
		synctest.Test(t, func(t *testing.T) { f(t) })
	} else {
		f(t)
	}
}

func (h Harness) withDefaults() (Harness, error) {
	if h.New == nil {
		return h, errors.New("strategytest: Harness.New is nil; want a func that makes a source")
	}
	if h.Bubble && h.Parallel {
		return h, errors.New("strategytest: Harness.Bubble and Harness.Parallel; want one of them, as a bubble is no place for other tests")
	}
	if h.Nodes == nil {
		h.Nodes = []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370", "10.0.0.3:4370", "10.0.0.4:4370"}
	}
	if clean := cleaned("", h.Nodes); len(clean) != 4 || !slices.Equal(clean, slices.Sorted(slices.Values(h.Nodes))) {
		return h, fmt.Errorf("strategytest: Harness.Nodes is %q; want four different nodes in canonical form", h.Nodes)
	}
	if h.Within <= 0 {
		h.Within = 10 * time.Second
	}
	if h.Quiet <= 0 {
		h.Quiet = 100 * time.Millisecond
	}
	return h, nil
}

// validate checks that a source has what the harness says.
func (h Harness) validate(src Source) error {
	switch {
	case src.Strategy == nil:
		return errors.New("strategytest: Source.Strategy is nil")
	case (src.Set == nil) != (h.Cannot.Change != ""):
		return errors.New("strategytest: want either Source.Set, or in Cannot.Change why there is none")
	case (len(src.Faults) == 0) != (h.Cannot.Fail != ""):
		return errors.New("strategytest: want either Source.Faults, or in Cannot.Fail why there are none")
	}
	for name, f := range src.Faults {
		if name == "" || f.Break == nil || f.Mend == nil {
			return fmt.Errorf("strategytest: Source.Faults[%q]: want a name, Break and Mend", name)
		}
	}
	return nil
}

// cleaned returns nodes as a roster passes them on.
func cleaned(self cluster.Node, nodes []cluster.Node) (clean []cluster.Node) {
	cluster.NewRoster(self, nil, func(c cluster.Change) {
		if c.Kind == cluster.Replaced {
			clean = c.Nodes
		}
	}).Replace(nodes)
	return clean
}
