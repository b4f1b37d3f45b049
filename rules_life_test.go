package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/memory"
)

// The tests of the rules about the supervisor's life: how it stops, calls, and
// logs.

func TestRule08_StopEndsAllAndDisconnectsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		w.net.Hang("hung:1")
		src := w.startOne()
		events := w.sup.Events(t.Context())
		src.r().Replace(nodes("a:1", "hung:1"))
		synctest.Wait()
		w.sup.Stop()
		w.sup.Stop()
		for range 2 {
			if err := w.sup.Wait(); err != nil {
				t.Error(err)
			}
		}
		for range events {
		}
		w.wantLinked("nobody is disconnected", "a:1")
		src.roster.Remove("a:1")
		time.Sleep(time.Hour)
		w.wantLinked("a late word does nothing", "a:1")
		if err := w.sup.Apply(nil); !errors.Is(err, ErrStopped) {
			t.Errorf("Apply: %v", err)
		}
	})
}

func TestRule08_WaitNamesWhatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		src := newSource()
		sup, err := Start(t.Context(), []Topology{{
			Name: "hooks", Strategy: src,
			Connect:    func(context.Context, Node) error { <-release; return nil },
			Disconnect: func(context.Context, Node) error { return nil },
			ListNodes:  func(context.Context) ([]Node, error) { return nil, nil },
		}}, WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		src.r().Add("a:1")
		synctest.Wait()
		sup.Stop()
		if err := sup.Wait(); err == nil || !strings.Contains(err.Error(), "Connect(a:1) has not returned for 10s") {
			t.Errorf("Wait: %v", err)
		}
		close(release)
		_ = w
	})
}

func TestRule10_HooksMayCallEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sup *Supervisor
		var current atomic.Pointer[[]Topology]
		var called sync.Map
		started := make(chan struct{})
		everything := func(what string) {
			<-started
			called.Store(what, true)
			_ = sup.Apply(*current.Load())
			_, _, _ = sup.Status(), sup.Nodes(), sup.Mesh()
			ctx, cancel := context.WithCancel(t.Context())
			sup.Events(ctx)
			cancel()
			_ = sup.WaitNodes(ctx, 99)
			_ = sup.WaitConverged(ctx)
		}
		f := &funcs{fail: func(op string, _ Node) error { everything(op); return nil }}
		poll := Poll(time.Second, func(context.Context) ([]Node, error) {
			everything("lookup")
			return nodes("a:1"), nil
		})
		topologies := []Topology{f.topology("hooks", &wrapped{poll})} // a pointer, which Apply can compare
		current.Store(&topologies)
		var err error
		sup, err = Start(t.Context(), topologies, WithLogger(slog.New(handlerFunc(func() { everything("log") }))))
		if err != nil {
			t.Fatal(err)
		}
		close(started)
		if err := sup.WaitNodes(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		current.Store(&[]Topology{})
		if err := sup.Apply(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * defaultRemoveGrace)
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
		for _, what := range []string{"Connect", "Disconnect", "ListNodes", "lookup", "log"} {
			if _, ok := called.Load(what); !ok {
				t.Errorf("%s was not called", what)
			}
		}
	})
}

type wrapped struct{ Strategy }

// handlerFunc is a log handler that calls a func.
type handlerFunc func()

func (handlerFunc) Enabled(context.Context, slog.Level) bool    { return true }
func (f handlerFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f handlerFunc) WithGroup(string) slog.Handler             { return f }

func TestRule11_LogsTellTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		w := newWorld(t)
		src := w.startOne(WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		src.r().Replace(nodes("a:1"))
		for range 100 {
			src.r().Fail(errSource)
			time.Sleep(time.Minute)
		}
		w.join("a:1")
		src.r().Replace(nodes("a:1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, want := range []string{"connecting failed", "discovery failed", "discovery works again", "node connected", "failures=100"} {
			if n := strings.Count(out.String(), want); n != 1 {
				t.Errorf("%q is logged %d times, want once:\n%s", want, n, out.String())
			}
		}
		if n := strings.Count(out.String(), "\n"); n > 5 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRule08_StopFromAnywhere(t *testing.T) {
	for _, op := range []string{"Connect", "Disconnect", "ListNodes", "Run", "log"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sup *Supervisor
				started := make(chan struct{})
				stop := func(at string) {
					if <-started; at == op {
						sup.Stop()
						sup.Stop()
					}
				}
				f := &funcs{fail: func(op string, _ Node) error { stop(op); return nil }}
				strategy := runFunc(func(ctx context.Context, r *Roster) error {
					r.Add("a:1")
					time.Sleep(time.Second)
					r.Remove("a:1")
					stop("Run")
					<-ctx.Done()
					return nil
				})
				var err error
				sup, err = Start(t.Context(), []Topology{f.topology("test", strategy)},
					WithLogger(slog.New(handlerFunc(func() { stop("log") }))))
				if err != nil {
					t.Fatal(err)
				}
				close(started)
				if err := sup.Wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// runFunc is a strategy that is a func.
type runFunc func(ctx context.Context, r *Roster) error

func (f runFunc) Run(ctx context.Context, r *Roster) error { return f(ctx, r) }

// A nosy calls everything that the supervisor offers whenever it is called.
type nosy struct {
	*memory.Transport
	*source

	ask func(what string)
}

func (n *nosy) Self() Node { n.ask("Self"); return n.Transport.Self() }

func (n *nosy) Connect(ctx context.Context, node Node) error {
	n.ask("Connect")
	if err := n.Transport.Connect(ctx, node); err != nil {
		return nosyError{err, n}
	}
	return nil
}

type nosyError struct {
	error
	nosy *nosy
}

func (e nosyError) Is(error) bool { e.nosy.ask("Is"); return false }
func (e nosyError) Unwrap() error { e.nosy.ask("Unwrap"); return e.error }

func (n *nosy) Disconnect(ctx context.Context, node Node) error {
	n.ask("Disconnect")
	return n.Transport.Disconnect(ctx, node)
}

func (n *nosy) ListNodes(ctx context.Context) ([]Node, error) {
	n.ask("ListNodes")
	return n.Transport.ListNodes(ctx)
}

func (n *nosy) Canonical(node Node) []Node {
	n.ask("Canonical")
	return n.Transport.Canonical(node)
}

func (n *nosy) Departed(node Node) bool {
	n.ask("Departed")
	return n.Transport.Departed(node)
}

func (n *nosy) Notify(ctx context.Context) <-chan struct{} {
	n.ask("Notify")
	return n.Transport.Notify(ctx)
}

func (n *nosy) Agreement() transport.Agreement {
	n.ask("Agreement")
	return transport.Agreement{Agreed: true}
}

func (n *nosy) Validate() error { n.ask("Validate"); return nil }

func (n *nosy) Equal(s Strategy) bool { n.ask("Equal"); return s == Strategy(n) }

func (n *nosy) Run(ctx context.Context, r *Roster) error {
	n.ask("Run")
	return n.source.Run(ctx, r)
}

func TestRule10_AllUserCodeMayCallEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		n := &nosy{Transport: w.me, source: newSource()}
		topologies := []Topology{{Name: "test", Strategy: n}}
		var called sync.Map
		var busy atomic.Bool
		var sup atomic.Pointer[Supervisor]
		n.ask = func(what string) {
			s := sup.Load()
			if s == nil {
				return // Start has not returned
			}
			called.Store(what, true)
			_, _, _ = s.Status(), s.Nodes(), s.Mesh()
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			s.Events(ctx)
			_ = s.WaitNodes(ctx, 99) // takes its time
			if what != "Agreement" {
				_ = s.WaitConverged(ctx)
			}
			if busy.CompareAndSwap(false, true) { // for Apply calls some of these
				_ = s.Apply(topologies)
				busy.Store(false)
			}
		}
		s, err := Start(t.Context(), nil, WithTransport(n), WithLogger(slog.New(handlerFunc(func() { n.ask("log") }))))
		if err != nil {
			t.Fatal(err)
		}
		sup.Store(s)
		if err := s.Apply(topologies); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.r().Add("a:1", "b:1", "down:1")
		time.Sleep(time.Minute)
		n.r().Remove("a:1")
		w.net.Leave("b:1", "me:1")
		time.Sleep(time.Minute)
		w.wantLinked("it works in spite of that", "b:1")
		s.Stop()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		for _, what := range []string{
			"Self", "Connect", "Disconnect", "ListNodes", "Canonical", "Departed", "Notify", "Agreement", "Validate", "Equal", "Run", "log", "Is", "Unwrap",
		} {
			if _, ok := called.Load(what); !ok {
				t.Errorf("%s was not called", what)
			}
		}
	})
}

func TestRule11_AListingThatFailsIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		var failing atomic.Bool
		failing.Store(true)
		f := &funcs{fail: func(op string, _ Node) error {
			if op == "ListNodes" && failing.Load() {
				return errors.New("can't list")
			}
			return nil
		}}
		w := newWorld(t)
		w.start([]Topology{f.topology("test", hosts{})}, WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		time.Sleep(9 * defaultReconcileInterval)
		synctest.Wait()
		failing.Store(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "works again\" failures=10") {
			t.Errorf("want the first failure, and the recovery with a count:\n%s", out.String())
		}
	})
}

func TestRule11_APanicIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		w := newWorld(t)
		src := w.startOne(WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		for range 20 {
			src.end <- errPanic
		}
		time.Sleep(backoffMax)
		src.r().Replace(nodes())
		time.Sleep(goodRun)
		src.end <- errPanic
		synctest.Wait()
		for what, want := range map[string]int{"the strategy panicked": 2, "works again": 1} {
			if n := strings.Count(out.String(), what); n != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", what, n, want, out.String())
			}
		}
	})
}
