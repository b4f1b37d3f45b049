package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/memory"
)

// An opinion is a transport whose nodes agree as far as a test says.
type opinion struct {
	*memory.Transport

	mu    sync.Mutex
	agree transport.Agreement
}

func (o *opinion) Agreement() transport.Agreement {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.agree
}

// set changes what is thought; the supervisor sees it when it next lists.
func (o *opinion) set(a transport.Agreement) {
	o.mu.Lock()
	o.agree = a
	o.mu.Unlock()
	time.Sleep(defaultReconcileInterval)
	synctest.Wait()
}

// converges waits until the test's world has converged, or for so long.
func (w *world) converges(within time.Duration) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	return w.sup.WaitConverged(ctx)
}

// wantNotConverged checks what an error names.
func wantNotConverged(t *testing.T, when string, err error, cause error, want NotConvergedError, texts ...string) {
	t.Helper()
	var e *NotConvergedError
	if !errors.As(err, &e) || !errors.Is(err, cause) {
		t.Errorf("%s: %v, want a NotConvergedError for %v", when, err, cause)
		return
	}
	var missing []Node
	for _, n := range e.Nodes {
		missing = append(missing, n.Node)
	}
	var wanted []Node
	for _, n := range want.Nodes {
		wanted = append(wanted, n.Node)
	}
	if !slices.Equal(e.Silent, want.Silent) || !slices.Equal(missing, wanted) || !slices.Equal(e.Apart, want.Apart) || !slices.Equal(e.Differ, want.Differ) {
		t.Errorf("%s: %+v, want %+v", when, e, want)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q doesn't say %q", when, err, text)
		}
	}
}

func missingNodes(names ...Node) (ns []NodeStatus) {
	for _, n := range names {
		ns = append(ns, NodeStatus{Node: n})
	}
	return ns
}

func TestWaitConvergedWaitsForAnswers(t *testing.T) {
	answers := []struct {
		name string
		say  func(src *source)
	}{
		{"an answer", func(src *source) { src.r().Replace(nodes("a:1")) }},
		{"an answer of nobody", func(src *source) { src.r().Add() }},
		{"a node that is gone", func(src *source) { src.r().Remove("a:1") }},
		{"a failure", func(src *source) { src.r().Fail(errSource) }},
		{"a Run that fails", func(src *source) { src.r(); src.end <- errSource }},
		{"a Run that panics", func(src *source) { src.r(); src.end <- errPanic }},
		{"a Run that ends", func(src *source) { src.r(); src.end <- nil }},
	}
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1")
				quick, slow := newSource(), newSource()
				w.start([]Topology{{Name: "quick", Strategy: quick}, {Name: "slow", Strategy: slow}})
				quick.r().Add()
				wantNotConverged(t, "one is silent", w.converges(time.Hour), context.DeadlineExceeded,
					NotConvergedError{Silent: []string{"slow"}}, "topologies that have not answered: slow")
				done := make(chan error)
				go func() { done <- w.converges(time.Minute) }()
				tt.say(slow)
				synctest.Wait()
				select {
				case err := <-done:
					if err != nil {
						t.Error(err)
					}
				default:
					t.Error("it goes on waiting")
					<-done
				}
				if err := w.sup.Apply([]Topology{{Name: "quick", Strategy: quick}, {Name: "slow", Strategy: newSource()}}); err != nil {
					t.Fatal(err)
				}
				wantNotConverged(t, "another strategy is silent", w.converges(time.Second), context.DeadlineExceeded,
					NotConvergedError{Silent: []string{"slow"}})
			})
		})
	}
}

// TestWaitConvergedWaitsForNodes: those that are being connected are waited for,
// those that can't be reached aren't, and both are named.
func TestWaitConvergedWaitsForNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "cut:1", "hung:1")
		w.net.Cut("me:1", "cut:1")
		w.net.Hang("hung:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "cut:1", "hung:1", "me:1"), "kept:1")
		wantNotConverged(t, "a node hangs", w.converges(time.Second), context.DeadlineExceeded,
			NotConvergedError{Nodes: missingNodes("cut:1", "hung:1")},
			"nodes that are being connected: hung:1", "nodes that can't be reached: cut:1 (memory: unreachable")
		began := time.Now()
		if err := w.converges(time.Minute); err != nil {
			t.Errorf("none is reachable that isn't linked: %v", err)
		}
		if took := time.Since(began); took > defaultConnectTimeout {
			t.Errorf("it took %s", took)
		}
		w.net.SetDelay(time.Second)
		w.join("late:1")
		src.r().Add("late:1")
		began = time.Now()
		if err := w.converges(time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second || !slices.Contains(w.sup.Nodes(), "late:1") {
			t.Errorf("one that joins late: after %s, %v are linked", took, w.sup.Nodes())
		}
		w.net.Break("me:1", "a:1")
		synctest.Wait() // until it is noticed
		if err := w.converges(time.Minute); err != nil {
			t.Error(err)
		}
		if !slices.Contains(w.sup.Nodes(), "a:1") {
			t.Error("a node that was lost is waited for until it has been dialled again")
		}
	})
}

// TestWaitConvergedOfNames: names are waited for as addresses are, and one that
// leads back here isn't missing.
func TestWaitConvergedOfNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		w.net.Name("web:1", "a:1", "b:1", "me:1")
		w.net.Name("myself:1", "me:1")
		w.net.Name("partly:1", "a:1", "nobody:1")
		src := w.startOne()
		src.r().Add("web:1", "myself:1", "partly:1")
		if err := w.converges(time.Second); err != nil {
			t.Error(err)
		}
		w.wantLinked("converged", "a:1", "b:1")
	})
}

func TestWaitConvergedWithFuncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f, src := &funcs{}, newSource()
		w.start([]Topology{f.topology("hooks", src)})
		src.r().Add("a:1")
		if err := w.converges(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestWaitConvergedWaitsForAgreement: of the transport's nodes, which an error
// names.
func TestWaitConvergedWaitsForAgreement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		o := &opinion{Transport: w.me}
		src := newSource()
		w.start([]Topology{{Name: "test", Strategy: src}}, WithTransport(o))
		src.r().Add("a:1")
		wantNotConverged(t, "too young", w.converges(time.Second), context.DeadlineExceeded,
			NotConvergedError{}, "not for long enough yet")
		apart := []transport.Pair{{"a:1", "b:1"}}
		o.set(transport.Agreement{Apart: apart, Differ: nodes("a:1")})
		wantNotConverged(t, "they disagree", w.converges(time.Second), context.DeadlineExceeded,
			NotConvergedError{Apart: apart, Differ: nodes("a:1")}, "not linked with each other: a:1 and b:1", "other nodes are seen by: a:1")
		done := make(chan error)
		go func() { done <- w.converges(time.Hour) }()
		o.set(transport.Agreement{Agreed: true})
		if err := <-done; err != nil {
			t.Error(err)
		}
		o.set(transport.Agreement{Differ: nodes("a:1")})
		go func() { done <- w.converges(time.Hour) }()
		synctest.Wait()
		w.sup.Stop()
		wantNotConverged(t, "stopped", <-done, ErrStopped, NotConvergedError{Differ: nodes("a:1")})
		wantNotConverged(t, "after the stop", w.converges(time.Hour), ErrStopped, NotConvergedError{Differ: nodes("a:1")})
	})
}

// TestNotConvergedIsShort: its text names a few of each kind.
func TestNotConvergedIsShort(t *testing.T) {
	e := &NotConvergedError{Err: context.Canceled}
	for i := range 1000 {
		e.Nodes = append(e.Nodes, NodeStatus{Node: Node(fmt.Sprintf("n%d:1", i))})
		e.Silent = append(e.Silent, fmt.Sprint("t", i))
	}
	text := e.Error()
	if len(text) > 500 || strings.Count(text, "and 992 more") != 2 || !strings.Contains(text, "n7:1") || strings.Contains(text, "n8:1") {
		t.Errorf("%q", text)
	}
}

// TestDivergedIsTold: what a transport says of it comes as events, in snapshots
// and in the status, once for each change, until it is over.
func TestDivergedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := &opinion{Transport: w.me}
		w.start(nil, WithTransport(o))
		events := w.sup.Events(t.Context())
		o.set(transport.Agreement{Differ: nodes("a:1")})
		checkEvents(t, "they differ", taken(events), Snapshot{})
		first := Diverged{Self: "me:1", Apart: []transport.Pair{{"a:1", "b:1"}}, Differ: nodes("a:1", "b:1")}
		o.set(transport.Agreement{Diverged: true, Apart: first.Apart, Differ: first.Differ})
		o.set(transport.Agreement{Diverged: true, Apart: first.Apart, Differ: first.Differ})
		checkEvents(t, "diverged", taken(events), first)
		second := Diverged{Self: "me:1", Differ: nodes("a:1")}
		o.set(transport.Agreement{Diverged: true, Differ: second.Differ})
		checkEvents(t, "otherwise", taken(events), second)
		checkEvents(t, "a late subscriber", taken(w.sup.Events(t.Context())), Snapshot{Diverged: []Diverged{second}})
		if st := w.sup.Status(); len(st.Diverged) != 1 || !slices.Equal(st.Diverged[0].Differ, second.Differ) {
			t.Errorf("status: %+v", st.Diverged)
		}
		o.set(transport.Agreement{Agreed: true})
		checkEvents(t, "over", taken(events), Converged{Self: "me:1"})
		checkEvents(t, "a later subscriber", taken(w.sup.Events(t.Context())), Snapshot{})
		if st := w.sup.Status(); len(st.Diverged) != 0 {
			t.Errorf("status: %+v", st.Diverged)
		}
	})
}

// TestDivergedEndsWithItsTransport: nobody looks at it any more.
func TestDivergedEndsWithItsTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := &opinion{Transport: w.join("other:1")}
		w.start([]Topology{{Name: "test", Strategy: newSource(), Transport: o}})
		events := w.sup.Events(t.Context())
		o.set(transport.Agreement{Diverged: true, Differ: nodes("a:1")})
		diverged := Diverged{Self: "other:1", Differ: nodes("a:1")}
		checkEvents(t, "diverged", taken(events), Snapshot{}, diverged)
		if err := w.sup.Apply(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		checkEvents(t, "without the transport", taken(events), Snapshot{})
	})
}

func TestIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "in:1")
		w.net.Name("myself:1", "me:1")
		w.net.Cut("me:1", "a:1")
		src := w.startOne()
		want := func(when string, isolated bool) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := w.sup.Status().Topologies[0].Isolated; got != isolated {
				t.Errorf("%s: %v", when, got)
			}
		}
		src.r()
		want("nothing is known", false)
		src.r().Replace(nodes("me:1", "myself:1"), "kept:1")
		want("nobody but this node is named", false)
		src.r().Replace(nodes("a:1", "myself:1"))
		want("who is named can't be reached", true)
		w.dialMe("in:1")
		want("another has come", false)
		w.net.Leave("in:1", "me:1")
		want("and left", true)
		src.r().Fail(errSource)
		want("the source fails", true)
		w.net.Heal()
		time.Sleep(backoffMax)
		want("healed", false)
	})
}

// TestWaitConvergedOfWhoStartsFirst: that a node isn't there yet doesn't make it one
// that can't be reached.
func TestWaitConvergedOfWhoStartsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start([]Topology{{Name: "x", Strategy: hosts{"late:1", "never:1"}}})
		began := time.Now()
		time.AfterFunc(10*time.Millisecond, func() { w.join("late:1") })
		if err := w.sup.WaitConverged(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.sup.Nodes(); !slices.Equal(n, nodes("late:1")) {
			t.Errorf("linked with %v", n)
		}
		if took := time.Since(began); took < unreachableAfter || took > 2*unreachableAfter {
			t.Errorf("who never comes is waited for %s, want %s or a little more", took, unreachableAfter)
		}
	})
}

// TestWaitConvergedOfWhoIsWantedAgain: that a node could not be reached when it was
// last wanted says nothing of now.
func TestWaitConvergedOfWhoIsWantedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		time.Sleep(10 * time.Second)
		src.r().Replace(nodes("b:1"), "a:1") // a:1 is kept, and not dialled
		time.Sleep(10 * time.Second)
		src.r().Replace(nodes("a:1", "b:1"))
		began := time.Now()
		time.AfterFunc(10*time.Millisecond, func() { w.join("a:1") })
		if err := w.converges(time.Minute); err != nil {
			t.Fatal(err)
		}
		w.wantLinked("converged after "+time.Since(began).String(), "a:1", "b:1")
	})
}
