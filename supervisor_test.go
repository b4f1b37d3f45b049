package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// funcs are a topology's three funcs, which work on a set of nodes and do what a
// test says first.
type funcs struct {
	fail func(op string, n Node) error // nil: nothing

	mu     sync.Mutex
	linked map[Node]bool
}

func (f *funcs) topology(name string, s Strategy) Topology {
	return Topology{Name: name, Strategy: s, Connect: f.connect, Disconnect: f.disconnect, ListNodes: f.list}
}

func (f *funcs) set(op string, n Node, linked bool) error {
	if f.fail != nil {
		if err := f.fail(op, n); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.linked == nil {
		f.linked = map[Node]bool{}
	}
	if n != "" {
		f.linked[n] = linked
	}
	return nil
}

func (f *funcs) connect(_ context.Context, n Node) error    { return f.set("Connect", n, true) }
func (f *funcs) disconnect(_ context.Context, n Node) error { return f.set("Disconnect", n, false) }

func (f *funcs) list(context.Context) ([]Node, error) {
	if err := f.set("ListNodes", "", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Node
	for n, linked := range f.linked {
		if linked {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

func TestWaitNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		later := make(chan error)
		go func() { later <- w.sup.WaitNodes(t.Context(), 2) }()
		src.r().Replace(nodes("a:1"))
		if err := w.sup.WaitNodes(t.Context(), 1); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.sup.WaitNodes(ctx, 3)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 of 3 nodes are linked") {
			t.Errorf("when the time is over: %v", err)
		}
		src.r().Add("b:1")
		if err := <-later; err != nil {
			t.Error(err)
		}
		go func() { later <- w.sup.WaitNodes(t.Context(), 3) }()
		synctest.Wait()
		w.sup.Stop()
		if err := <-later; !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "2 of 3") {
			t.Errorf("after the stop: %v", err)
		}
	})
}

func TestNodesAreTheOthersHoweverTheyWereFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "in:1")
		src := w.startOne()
		if got := w.sup.Nodes(); len(got) != 0 {
			t.Errorf("at first: %v", got)
		}
		src.r().Add("a:1", "me:1")
		w.dialMe("in:1")
		synctest.Wait()
		if got, want := w.sup.Nodes(), nodes("a:1", "in:1"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		w.net.Break("me:1", "in:1")
		synctest.Wait()
		if got, want := w.sup.Nodes(), nodes("a:1"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestRunReturnsWhenItsContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := Run(ctx, []Topology{{Name: "test", Strategy: hosts{"a:1"}}}, WithTransport(w.me), WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		w.wantLinked("nobody is disconnected", "a:1")
	})
}

func TestStartWithADoneContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		ctx, cancel := context.WithCancelCause(t.Context())
		errWhy := errors.New("why")
		cancel(errWhy)
		topologies := []Topology{{Name: "test", Strategy: hosts{"a:1"}}}
		if err := Run(ctx, topologies, WithTransport(w.me)); err != nil {
			t.Errorf("Run: %v", err)
		}
		sup, err := Start(ctx, topologies, WithTransport(w.me))
		if sup != nil || !errors.Is(err, errWhy) || !errors.Is(err, ErrStopped) {
			t.Errorf("Start: %v, %v", sup, err)
		}
		if err := Run(ctx, []Topology{{}}); err == nil {
			t.Error("Run accepts a wrong configuration")
		}
		w.wantLinked("nothing was begun")
	})
}

func TestFuncsAreATransportOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		x, y := &funcs{}, &funcs{}
		src := newSource()
		selfish := x.topology("x", src)
		selfish.Self = "ME:1"
		w.start([]Topology{selfish, y.topology("y", hosts{"a:1"})})
		src.r().Replace(nodes("a:1", "me:1"))
		synctest.Wait()
		src.r().Remove("a:1")
		synctest.Wait()
		if got, _ := x.list(t.Context()); len(got) != 0 {
			t.Errorf("x is linked with %v, want nobody: y counts for itself, and me:1 is itself", got)
		}
		if got, _ := y.list(t.Context()); !slices.Equal(got, nodes("a:1")) {
			t.Errorf("y is linked with %v", got)
		}
		time.Sleep(defaultReconcileInterval) // it has been listed
		y.mu.Lock()
		y.linked["a:1"] = false // without a word
		y.mu.Unlock()
		time.Sleep(defaultReconcileInterval)
		synctest.Wait()
		if got, _ := y.list(t.Context()); !slices.Equal(got, nodes("a:1")) {
			t.Errorf("a loss is noticed when the links are listed: y is linked with %v", got)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1", "k:1")
		x, y := newSource(), newSource()
		w.start([]Topology{{Name: "x", Strategy: x}, {Name: "y", Strategy: y}})
		if got := w.sup.Status().Topologies[0]; got.Name != "x" || got.Strategy != "*cluster.source" || got.State != StateStarting || !got.LastSuccess.IsZero() {
			t.Errorf("at first: %+v", got)
		}
		began := time.Now()
		x.r().Replace(nodes("a:1", "b:1", "down:1"), "k:1")
		x.r().Add("c:1")
		time.Sleep(time.Second)
		x.r().Replace(nodes("a:1", "down:1"), "k:1")
		y.r().Fail(errSource)
		y.end <- errSource
		synctest.Wait()
		st := w.sup.Status()
		checkNode(t, st.Topologies[0], NodeStatus{Node: "a:1", Want: Wanted, Connected: true, Since: began})
		checkNode(t, st.Topologies[0], NodeStatus{Node: "b:1", Want: Lingering, Connected: true, Since: began, RemoveAt: began.Add(time.Second + defaultRemoveGrace)})
		checkNode(t, st.Topologies[0], NodeStatus{Node: "c:1", Want: Hint, Connected: true, Since: began})
		checkNode(t, st.Topologies[0], NodeStatus{Node: "k:1", Want: Kept, Since: began})
		if d := st.Topologies[0].Nodes[3]; d.Node != "down:1" || d.Attempts < 2 || d.LastError == nil || d.NextTry.Before(time.Now()) {
			t.Errorf("one that can't be reached: %+v", d)
		}
		if got := st.Topologies[0]; got.State != StateRunning || !got.LastSuccess.Equal(began.Add(time.Second)) || got.LastError != nil {
			t.Errorf("x: %+v", got)
		}
		if got := st.Topologies[1]; got.State != StateWaiting || got.Failures != 2 || !errors.Is(got.LastError, errSource) || !got.LastFailure.Equal(began.Add(time.Second)) {
			t.Errorf("y: %+v", got)
		}
		x.end <- nil
		time.Sleep(backoffMax)
		y.r().Fail(errSource)
		st = w.sup.Status()
		if st.Topologies[0].State != StateEnded || st.Topologies[1].State != StateFailing {
			t.Errorf("x is %s, y is %s", st.Topologies[0].State, st.Topologies[1].State)
		}
		st.Topologies[0].Nodes[0].Node = "changed:1" // it is the caller's
		w.sup.Stop()
		_ = w.sup.Wait()
		if st := w.sup.Status(); st.Topologies[0].State != StateStopped || st.Topologies[0].Nodes[0].Node != "a:1" {
			t.Errorf("after the stop: %+v", st.Topologies[0])
		}
	})
}

func checkNode(t *testing.T, top TopologyStatus, want NodeStatus) {
	t.Helper()
	i := slices.IndexFunc(top.Nodes, func(s NodeStatus) bool { return s.Node == want.Node })
	if i < 0 {
		t.Errorf("%s is missing", want.Node)
		return
	}
	got := top.Nodes[i]
	got.NextTry = time.Time{} // a name is looked at again
	if got != want {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestStatusOfItselfAndOfAFailedListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.net.Name("me-too:1", "me:1")
		errList := errors.New("can't list")
		f := &funcs{fail: func(op string, _ Node) error {
			if op == "ListNodes" {
				return errList
			}
			return nil
		}}
		w.start([]Topology{{Name: "x", Strategy: hosts{"me-too:1"}}, f.topology("y", hosts{"a:1"})})
		time.Sleep(time.Hour)
		synctest.Wait()
		st := w.sup.Status()
		if n := st.Topologies[0].Nodes[0]; !n.Self || n.Connected || n.Attempts != 0 || n.LastError != nil {
			t.Errorf("itself: %+v", n)
		}
		if y := st.Topologies[1]; !errors.Is(y.ListError, errList) || !y.Nodes[0].Connected {
			t.Errorf("when the links are unknown, they stay as they were: %+v", y)
		}
	})
}

// TestNodesWithoutATopology: the nodes of the shared transport are known,
// however they were found.
func TestNodesWithoutATopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		w.start(nil)
		w.dialMe("a:1")
		if err := w.sup.WaitNodes(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingIsLinkedOnAMeshThatWasClosed: with the supervisor that made it.
func TestNothingIsLinkedOnAMeshThatWasClosed(t *testing.T) {
	t.Setenv(EnvSecret, goodSecret)
	t.Setenv(EnvBind, "127.0.0.1:0")
	a := startFromEnvironment(t, []Topology{{Name: "web", Strategy: hosts{}}})
	b := startFromEnvironment(t, []Topology{{Name: "web", Strategy: hosts{a.Mesh().Self()}}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.WaitNodes(ctx, 1); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := b.Nodes(); len(n) > 0 {
		t.Errorf("linked with %v", n)
	}
	if err := b.WaitNodes(ctx, 0); !errors.Is(err, ErrStopped) {
		t.Errorf("WaitNodes: %v, want ErrStopped", err)
	}
}

// TestWhatWasNotToldIsForgottenToo: between a group's last step and its end, its
// core may hear of links that are gone, and of new ones.
func TestWhatWasNotToldIsForgottenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		w.start([]Topology{{Name: "x", Strategy: hosts{"a:1", "b:1"}}})
		synctest.Wait()
		g := w.sup.groups[w.me]
		g.mu.Lock()
		g.core.unlinked(time.Now(), "a:1", ErrLost)
		g.core.linked(time.Now(), "c:1", 0)
		g.core.tellUp(time.Now())
		g.mu.Unlock()
		w.sup.count(NodeConnected{Node: "c:1"}) // on another transport
		w.sup.forget(g)
		if got := w.sup.Nodes(); !slices.Equal(got, nodes("c:1")) {
			t.Errorf("linked with %v, want c:1 alone", got)
		}
	})
}
