package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of this file bear the numbers of the rules that always hold; see
// the package comment and the README.

func TestRule01_AFailureNeverRemovesANode(t *testing.T) {
	failures := map[string]func(*source){
		"Fail":   func(s *source) { s.r().Fail(errSource) },
		"error":  func(s *source) { s.end <- errSource },
		"panic":  func(s *source) { s.end <- errPanic },
		"broken": func(s *source) { s.r().Replace(nodes("not a node")) },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1", "b:1")
				src := w.startOne()
				src.r().Replace(nodes("a:1", "b:1"))
				w.wantLinked("at first", "a:1", "b:1")
				for range 100 {
					fail(src)
					time.Sleep(time.Minute)
				}
				w.wantLinked("after 100 failures", "a:1", "b:1")
				w.net.Break("me:1", "a:1")
				time.Sleep(time.Second)
				w.wantLinked("a link that broke meanwhile is healed", "a:1", "b:1")
			})
		})
	}
}

func TestRule02_MissingIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Nanosecond)
		w.wantLinked("in the grace", "a:1", "b:1")
		time.Sleep(time.Nanosecond)
		w.wantLinked("after the grace, though the source said nothing more", "a:1")
	})
}

func TestRule02_ALingeringNodeIsNotDialled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		w.net.Break("me:1", "b:1")
		time.Sleep(defaultRemoveGrace / 2)
		w.wantLinked("it is gone", "a:1")
	})
}

func TestRule02_AFailureStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Second)
		src.r().Fail(errSource)
		time.Sleep(time.Hour)
		w.wantLinked("while the source fails", "a:1", "b:1")
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Second)
		w.wantLinked("the clock begins anew", "a:1", "b:1")
		time.Sleep(time.Second)
		w.wantLinked("and runs out", "a:1")
	})
}

func TestRule02_ListedAgainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		for range 5 {
			src.r().Replace(nodes("a:1", "b:1"))
			time.Sleep(time.Second)
			src.r().Replace(nodes("a:1"))
			time.Sleep(defaultRemoveGrace - time.Second)
		}
		w.wantLinked("never missing for the whole grace", "a:1", "b:1")
	})
}

func TestRule02_RemoveActsAtOnce_AndSoDoesNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1")
		src := w.startOne(WithRemoveGrace(0))
		src.r().Replace(nodes("a:1", "b:1", "c:1"))
		src.r().Remove("c:1")
		w.wantLinked("removed", "a:1", "b:1")
		src.r().Replace(nodes("a:1"))
		w.wantLinked("no grace", "a:1")
	})
}

func TestRule02_KeptIsNeitherDialledNorCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"), "b:1", "c:1")
		time.Sleep(time.Hour)
		w.wantLinked("terminating, but linked", "a:1", "b:1")
		w.net.Break("me:1", "b:1")
		time.Sleep(time.Hour)
		w.wantLinked("not dialled", "a:1")
	})
}

func TestRule02_AnAnswerOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		var answer atomic.Pointer[[]Node]
		answer.Store(&[]Node{"a:1"})
		asked := 0
		poll := Poll(time.Hour, func(context.Context) ([]Node, error) { asked++; return *answer.Load(), nil })
		w.start([]Topology{{Name: "test", Strategy: poll}})
		synctest.Wait()
		time.Sleep(2 * time.Second)
		answer.Store(&[]Node{"me:1"})
		time.Sleep(time.Hour * 11 / 10) // asked again by now, and less than the grace ago or more
		synctest.Wait()
		if asked < 4 {
			t.Errorf("asked %d times, want the first, the one of nobody, and two more in the grace", asked)
		}
		w.wantLinked("after the grace", []Node(nil)...)
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1"))
		src.r().Replace(nodes("me:1"))
		w.net.Break("me:1", "a:1")
		time.Sleep(defaultRemoveGrace / 2)
		w.wantLinked("its nodes stay wanted", "a:1")
		time.Sleep(defaultRemoveGrace / 2)
		w.wantLinked("through the grace")
	})
}

func TestRule03_HintsDontPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Add("a:1", "b:1")
		src.r().Add("a:1")
		src.r().Replace(nodes())
		time.Sleep(24 * time.Hour)
		w.wantLinked("while their links live", "a:1", "b:1")
	})
}

func TestRule03_HintsExpire(t *testing.T) {
	tests := []struct {
		name  string
		after func(src *source)
		stays bool
	}{
		{"once the source answers without it", func(src *source) { src.r().Add() }, false},
		{"not while the source says nothing", func(*source) {}, true},
		{"not while it fails", func(src *source) { src.r().Add(); src.r().Fail(errSource) }, true},
		{"not by an answer in part", func(src *source) { src.r().Fail(errSource); src.r().Add() }, true},
		{"not when it is heard of again", func(src *source) { src.r().Add(); src.r().Add("a:1") }, true},
		{"not while Run restarts", func(src *source) { src.r().Add(); src.end <- errSource }, true},
		{"not after Run returned nil", func(src *source) { src.r().Add(); src.end <- nil }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				src := w.startOne()
				src.r().Add("a:1")
				tt.after(src)
				time.Sleep(2 * defaultHintTTL)
				w.join("a:1")
				time.Sleep(backoffMax)
				if tt.stays {
					w.wantLinked("it is dialled for ever", "a:1")
				} else {
					w.wantLinked("it is forgotten")
				}
			})
		})
	}
}

func TestRule04_AWantedNodeIsRedialledForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tr := count(w.me)
		src := w.startOne(WithTransport(tr))
		src.r().Replace(nodes("a:1"))
		time.Sleep(24 * time.Hour)
		dials := tr.dials("a:1")
		for i := 1; i < len(dials); i++ {
			if d := dials[i].Sub(dials[i-1]); d > backoffCeiling(i) {
				t.Fatalf("%s between attempts %d and %d, more than %s", d, i, i+1, backoffCeiling(i))
			}
		}
		if most := int(24 * time.Hour / backoffMax * 4); len(dials) > most {
			t.Errorf("%d attempts in a day, more than %d", len(dials), most)
		}
		w.join("a:1")
		time.Sleep(backoffMax)
		w.wantLinked("after a day", "a:1")
	})
}

func TestRule04_ALossIsHealedAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		lived  time.Duration
		lose   func(w *world, a func())
		within time.Duration
		after  time.Duration
	}{
		{"lost", 50 * time.Second, func(w *world, _ func()) { w.net.Break("me:1", "a:1") }, 0, 0},
		{"restarted", 50 * time.Second, func(_ *world, again func()) { again() }, 0, 0},
		{"flaps", flapTime / 2, func(w *world, _ func()) { w.net.Break("me:1", "a:1") }, backoffMin, 0},
		{"left", 50 * time.Second, func(w *world, _ func()) { w.leave("a:1") }, departedPause, departedPause},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := w.join("a:1")
				tr := count(w.me)
				src := w.startOne(WithTransport(tr))
				src.r().Replace(nodes("a:1"))
				synctest.Wait()
				time.Sleep(tt.lived)
				lost := time.Now()
				tt.lose(w, func() { a.Crash(); w.join("a:1") })
				time.Sleep(backoffMax)
				synctest.Wait()
				dials := slices.DeleteFunc(tr.dials("a:1"), func(at time.Time) bool { return at.Before(lost) })
				if len(dials) == 0 {
					t.Fatal("not dialled again")
				}
				if d := dials[0].Sub(lost); d > tt.within || d < tt.after {
					t.Errorf("dialled again after %s, want %s to %s", d, tt.after, tt.within)
				}
				w.wantLinked("again", "a:1")
			})
		})
	}
}

// leave has a node disconnect this one.
func (w *world) leave(n Node) {
	w.net.Leave(n, "me:1")
}

func TestRule05_OneBadNodeNeverDelaysTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		src := w.startOne(WithMaxConnects(64))
		var bad []Node
		for i := range 500 {
			n := Node(fmt.Sprintf("bad-%d:1", i))
			w.net.Hang(n)
			bad = append(bad, n)
		}
		src.r().Add(bad...)
		time.Sleep(time.Hour) // all have been tried, and are tried again
		w.join("good:1")
		src.r().Add("good:1")
		synctest.Wait()
		w.wantLinked("at once", "good:1")
	})
	synctest.Test(t, func(t *testing.T) { // all are new, with the default bound
		w := newWorld(t, "z-good:1")
		src := w.startOne()
		all := nodes("z-good:1")
		for i := range 500 {
			n := Node(fmt.Sprintf("bad-%d:1", i))
			w.net.Hang(n)
			all = append(all, n)
		}
		src.r().Replace(all)
		w.wantLinked("at once", "z-good:1")
	})
}

func TestRule06_ANodeIsDisconnectedOnlyWhenNoTopologyWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "in:1")
		w.net.Name("web:1", "a:1")
		x, y := newSource(), newSource()
		w.start([]Topology{{Name: "x", Strategy: x}, {Name: "y", Strategy: y}})
		x.r().Replace(nodes("a:1", "b:1"))
		y.r().Replace(nodes("web:1")) // a:1 by another name
		w.dialMe("in:1")
		w.wantLinked("both", "a:1", "b:1", "in:1")
		x.r().Remove("a:1", "b:1")
		w.wantLinked("one wants it still, and nobody ever asked for in:1", "a:1", "in:1")
		y.r().Remove("web:1")
		w.wantLinked("neither does", "in:1")
	})
}

func TestRule07_AStrategyThatPanicsTouchesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		bad, good := newSource(), newSource()
		w.start([]Topology{{Name: "bad", Strategy: bad}, {Name: "good", Strategy: good}})
		bad.r().Replace(nodes("a:1"))
		good.r().Replace(nodes("b:1"))
		for range 10 {
			bad.end <- errPanic
		}
		w.wantLinked("all stay", "a:1", "b:1")
		if bad.ran() < 10 || good.ran() != 1 {
			t.Errorf("run %d and %d times, want 10 or more and 1", bad.ran(), good.ran())
		}
		time.Sleep(backoffMax)
		bad.r().Replace(nodes())
		time.Sleep(defaultRemoveGrace)
		w.wantLinked("it works again", "b:1")
	})
}

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
		for range events { //nolint:revive // it is closed
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

func TestRule09_ANodeNeverLinksToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		w.net.Name("me-too:1", "me:1")
		w.net.Name("web:1", "me:1", "a:1")
		tr := count(w.me)
		src := w.startOne(WithTransport(tr))
		events := w.sup.Events(t.Context())
		src.r().Replace(nodes("me:1", "other-name@me:1", "me-too:1", "web:1"))
		time.Sleep(time.Hour)
		w.wantLinked("all but itself", "a:1")
		if n := len(tr.dials("me:1")) + len(tr.dials("other-name@me:1")); n > 0 {
			t.Errorf("dialled itself %d times", n)
		}
		for len(events) > 0 {
			if e, ok := (<-events).(ConnectFailed); ok {
				t.Errorf("itself is no failure: %+v", e)
			}
		}
	})
}

func TestRule10_HooksMayCallEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sup *Supervisor
		var current atomic.Pointer[[]Topology]
		var called sync.Map
		everything := func(what string) {
			called.Store(what, true)
			_ = sup.Apply(*current.Load())
			_, _ = sup.Status(), sup.Nodes()
			_ = sup.Mesh()
			ctx, cancel := context.WithCancel(t.Context())
			sup.Events(ctx)
			cancel()
			_ = sup.WaitNodes(ctx, 99)
		}
		linked := map[Node]bool{}
		var mu sync.Mutex
		started := make(chan struct{})
		hook := func(what string, n Node, on bool) error {
			<-started
			everything(what)
			mu.Lock()
			defer mu.Unlock()
			if n != "" {
				linked[n] = on
			}
			return nil
		}
		topologies := []Topology{{
			Name: "hooks",
			Strategy: &wrapped{Poll(time.Second, func(context.Context) ([]Node, error) {
				<-started
				everything("lookup")
				return nodes("a:1"), nil
			})}, // which Apply can compare
			Connect:    func(_ context.Context, n Node) error { return hook("Connect", n, true) },
			Disconnect: func(_ context.Context, n Node) error { return hook("Disconnect", n, false) },
			ListNodes: func(context.Context) ([]Node, error) {
				_ = hook("ListNodes", "", false)
				mu.Lock()
				defer mu.Unlock()
				var list []Node
				for n, on := range linked {
					if on {
						list = append(list, n)
					}
				}
				return list, nil
			},
		}}
		current.Store(&topologies)
		logs := slog.New(handlerFunc(func() { <-started; everything("log") }))
		var err error
		sup, err = Start(t.Context(), topologies, WithLogger(logs))
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

// dialMe has another node connect.
func (w *world) dialMe(n Node) {
	w.t.Helper()
	synctest.Wait()
	if err := w.net.Dial(w.t.Context(), n, "me:1"); err != nil {
		w.t.Fatal(err)
	}
}
