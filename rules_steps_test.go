package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// More tests of the rules about links: those that need a step of the core at a
// time, and what once went wrong.

func TestRule04_BackoffHasFullJitter(t *testing.T) {
	tests := []struct {
		failures int
		most     time.Duration
	}{
		{1, 100 * time.Millisecond},
		{2, 200 * time.Millisecond},
		{5, 1600 * time.Millisecond},
		{9, 25600 * time.Millisecond},
		{10, 30 * time.Second},
		{1 << 30, 30 * time.Second},
	}
	for _, tt := range tests {
		for _, random := range []float64{0, 0.25, 0.5} {
			if got, want := backoff(tt.failures, random), time.Duration(random*float64(tt.most)); got != want {
				t.Errorf("backoff(%d, %v) = %s, want %s", tt.failures, random, got, want)
			}
		}
	}
}

func TestRule04_TheBackoffIsResetWhenALinkComesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tr := count(w.me)
		src := w.startOne(WithTransport(tr))
		src.r().Replace(nodes("a:1"))
		time.Sleep(time.Hour)
		a := w.join("a:1")
		time.Sleep(backoffMax)
		w.wantLinked("after an hour", "a:1")
		if n := w.sup.Status().Topologies[0].Nodes[0]; n.Attempts != 0 || n.LastError != nil {
			t.Errorf("want no attempts in vain: %+v", n)
		}
		time.Sleep(10 * time.Second)
		a.Crash()
		lost := time.Now()
		time.Sleep(backoffCeiling(1) + backoffCeiling(2) + backoffCeiling(3))
		dials := slices.DeleteFunc(tr.dials("a:1"), func(at time.Time) bool { return at.Before(lost) })
		if len(dials) < 4 || !dials[0].Equal(lost) {
			t.Errorf("dialled %d times after the loss at %s: %v; want at once, and soon again", len(dials), lost, dials)
		}
	})
}

func TestRule04_ALossWhileTheBackoffRuns(t *testing.T) {
	c := newTestCore(false)
	w := c.begin("test")
	w.apply(c.now, Change{Kind: Replaced, Nodes: nodes("a:1")})
	c.step()
	c.connected(c.now, "a:1", nil, errSource)
	c.step()
	c.list(nodes("a:1"), nil) // the other side has dialled
	if fx := c.step(); len(fx.dials) > 0 {
		t.Errorf("dials what is linked: %v", fx.dials)
	}
	c.now = c.now.Add(time.Minute)
	c.list(nil, nil)
	if fx := c.step(); !slices.Equal(fx.dials, nodes("a:1")) {
		t.Errorf("after the loss it dials %v, want a:1 at once", fx.dials)
	}
}

// A testCore is a core for tests of what it does step by step, that is told the
// outcome of a listing in one call.
type testCore struct {
	*core

	now     time.Time
	pending *listing
}

func newTestCore(aliases bool) *testCore {
	o, _ := newOptions(nil)
	return &testCore{core: newCore(&o, aliases, func() float64 { return 0.5 }), now: time.Unix(1_000_000, 0)}
}

func (c *testCore) begin(name string) *wants {
	w := newWants(name)
	c.wants = append(c.wants, w)
	return w
}

// connected says how an attempt has ended.
func (c *testCore) connected(now time.Time, n Node, canon []Node, err error) {
	c.core.connected(now, n, canon, outcomeOf(err))
}

func (c *testCore) step() effects {
	fx := c.core.step(c.now)
	if fx.list != nil {
		c.pending = fx.list
	}
	return fx
}

// list has the transport list nodes, and say what names stand for.
func (c *testCore) list(linked []Node, canon map[Node][]Node) {
	if c.pending == nil {
		c.relist(c.now)
		c.step()
	}
	l := c.pending
	c.pending = nil
	c.listEnded(c.now, listed{seq: l.seq, nodes: linked, canon: canon})
}

func TestRule06_AFailedAttemptCutsNoLink(t *testing.T) {
	c := newTestCore(false)
	w := c.begin("test")
	w.apply(c.now, Change{Kind: Replaced, Nodes: nodes("a:1")})
	c.step()
	c.list(nodes("a:1"), nil) // the other side was faster
	c.step()
	c.connected(c.now, "a:1", nil, errors.New("refused: there is a link"))
	if fx := c.step(); len(fx.cuts)+len(fx.dials) > 0 || !c.targets["a:1"].up {
		t.Errorf("cuts %v and dials %v what is wanted and linked", fx.cuts, fx.dials)
	}
}

func TestRule02_RemovedWhileItIsDialled(t *testing.T) {
	c := newTestCore(false)
	w := c.begin("test")
	w.apply(c.now, Change{Kind: Added, Nodes: nodes("a:1")})
	c.step()
	w.apply(c.now, Change{Kind: Removed, Nodes: nodes("a:1")})
	if fx := c.step(); !slices.Equal(fx.cancels, nodes("a:1")) {
		t.Errorf("cancels %v", fx.cancels)
	}
	c.connected(c.now, "a:1", nil, nil) // too late
	if fx := c.step(); !slices.Equal(fx.cuts, nodes("a:1")) {
		t.Errorf("cuts %v, want a:1, which is linked and gone", fx.cuts)
	}
}

func TestRule06_ALinkOfAnotherNameIsNotCut(t *testing.T) {
	c := newTestCore(true)
	x, y := c.begin("x"), c.begin("y")
	x.apply(c.now, Change{Kind: Added, Nodes: nodes("bob:1")})
	y.apply(c.now, Change{Kind: Added, Nodes: nodes("b:1")})
	c.step()
	c.connected(c.now, "bob:1", nodes("b:1"), nil)
	c.connected(c.now, "b:1", nil, errSource) // asked before that
	x.apply(c.now, Change{Kind: Removed, Nodes: nodes("bob:1")})
	x.apply(c.now, Change{Kind: Added, Nodes: nodes("robert:1")})
	y.apply(c.now, Change{Kind: Removed, Nodes: nodes("b:1")})
	if fx := c.step(); len(fx.cuts) > 0 {
		t.Errorf("cuts %v, though robert:1 may be the same", fx.cuts)
	}
	c.pending = nil
	c.listing = false
	c.list(nodes("b:1"), map[Node][]Node{"robert:1": nodes("b:1")})
	if fx := c.step(); len(fx.cuts) > 0 {
		t.Errorf("cuts %v, though robert:1 is the same", fx.cuts)
	}
	x.apply(c.now, Change{Kind: Removed, Nodes: nodes("robert:1")})
	if fx := c.step(); !slices.Equal(fx.cancels, nodes("robert:1")) || len(fx.cuts) > 0 {
		t.Errorf("cancels %v, want robert:1, before it cuts %v", fx.cancels, fx.cuts)
	}
	c.connected(c.now, "robert:1", nodes("b:1"), context.Canceled)
	if fx := c.step(); !slices.Equal(fx.cuts, nodes("b:1")) {
		t.Errorf("cuts %v, want b:1, which nobody wants", fx.cuts)
	}
}

func TestRule06_NothingIsDialledThatIsBeingCut(t *testing.T) {
	c := newTestCore(false)
	w := c.begin("test")
	w.apply(c.now, Change{Kind: Added, Nodes: nodes("a:1")})
	c.step()
	c.connected(c.now, "a:1", nil, nil)
	w.apply(c.now, Change{Kind: Removed, Nodes: nodes("a:1")})
	c.step()
	c.pending, c.listing = nil, false
	c.list(nil, nil) // it is lost while it is cut
	w.apply(c.now, Change{Kind: Added, Nodes: nodes("a:1")})
	if fx := c.step(); len(fx.dials) > 0 {
		t.Errorf("dials %v, which the cut that is under way would cut", fx.dials)
	}
	c.disconnected(c.now, "a:1", nil)
	if fx := c.step(); !slices.Equal(fx.dials, nodes("a:1")) {
		t.Errorf("dials %v, want a:1", fx.dials)
	}
}

func TestRule06_WithoutAGraceANodeMayChangeItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		w.net.Name("web:1", "a:1")
		src := w.startOne(WithRemoveGrace(0))
		src.r().Replace(nodes("a:1"))
		synctest.Wait()
		events := w.sup.Events(t.Context())
		for range 10 {
			src.r().Replace(nodes("web:1"))
			time.Sleep(time.Minute)
			src.r().Replace(nodes("a:1"))
			time.Sleep(time.Minute)
		}
		checkEvents(t, "it is linked all the time", taken(events), Snapshot{Nodes: nodes("a:1")})
		src.r().Replace(nil)
		w.wantLinked("nobody wants it")
	})
}
