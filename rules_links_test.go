package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// The tests of the rules about links: who is dialled when, and who is cut.

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

// black returns n nodes that never answer.
func (w *world) black(n int) []Node {
	holes := make([]Node, n)
	for i := range holes {
		holes[i] = Node(fmt.Sprintf("bad-%d:1", i))
		w.net.Hang(holes[i])
	}
	return holes
}

func TestRule05_OneBadNodeNeverDelaysTheOthers(t *testing.T) {
	tests := []struct {
		name string
		opts []Option
		test func(w *world, src *source, bad []Node)
	}{
		{"all are new", nil, func(w *world, src *source, bad []Node) {
			w.join("z-good:1")
			src.r().Replace(append(bad, "z-good:1"))
			w.wantLinked("at once", "z-good:1")
		}},
		{"retries take all the slots that they may", []Option{WithMaxConnects(64)}, func(w *world, src *source, bad []Node) {
			src.r().Add(bad...)
			time.Sleep(time.Minute) // all have been tried, and are tried again
			w.join("good:1")
			src.r().Add("good:1")
			w.wantLinked("at once", "good:1")
		}},
		{"all are lost, and lost again", nil, func(w *world, src *source, bad []Node) {
			src.r().Replace(append(bad, "good:1"))
			time.Sleep(time.Minute)
			w.join("good:1")
			time.Sleep(backoffMax)
			w.wantLinked("at its own backoff", "good:1")
			w.net.Break("me:1", "good:1")
			w.wantLinked("at once", "good:1")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tt.test(w, w.startOne(tt.opts...), w.black(500))
			})
		})
	}
}

func TestRule05_EachConnectHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		src := w.startOne(WithConnectTimeout(time.Second))
		events := w.sup.Events(t.Context())
		for _, n := range w.black(3) {
			src.r().Add(n)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		ends := 0
		for _, e := range taken(events) {
			if e, ok := e.(ConnectFailed); ok && e.Attempt == 1 {
				ends++
				if e.Duration != time.Second || !errors.Is(e.Err, context.DeadlineExceeded) {
					t.Errorf("want it given up after 1s: %+v", e)
				}
			}
		}
		if ends != 3 {
			t.Errorf("%d of 3 were given up", ends)
		}
	})
}

func TestRule05_AtMostSoManyConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := &funcs{}
		var now, most atomic.Int64
		src := newSource()
		top := f.topology("test", src)
		top.Connect = func(ctx context.Context, _ Node) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}
		w.start([]Topology{top}, WithMaxConnects(10))
		src.r().Add(w.black(50)...)
		synctest.Wait()
		if now.Load() != 10 {
			t.Errorf("%d first attempts at once, want 10", now.Load())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if most.Load() != 10 || now.Load() > 5 {
			t.Errorf("at most %d at once, and %d retries; want 10, and 5 or fewer", most.Load(), now.Load())
		}
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

// TestRule04_AnAddressThatLedBackHere may be that of a load balancer, or one that
// moves: it is tried again, to be linked when it leads to another.
func TestRule04_AnAddressThatLedBackHere(t *testing.T) {
	for _, n := range nodes("10.0.0.10:1", "web@10.0.0.10:1", "[fd00::10]:1", "vip:1") {
		t.Run(string(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var leadsHere atomic.Bool
				leadsHere.Store(true)
				f := &funcs{fail: func(op string, _ Node) error {
					if op == "Connect" && leadsHere.Load() {
						return transport.ErrSelf
					}
					return nil
				}}
				w := newWorld(t)
				src := newSource()
				w.start([]Topology{f.topology("test", src)})
				src.r().Replace(nodes(n))
				time.Sleep(time.Hour)
				if st := w.sup.Status().Topologies[0].Nodes[0]; !st.Self || st.Attempts > 0 {
					t.Errorf("while it leads back here: %+v", st)
				}
				leadsHere.Store(false)
				time.Sleep(recheckInterval)
				synctest.Wait()
				if got := w.sup.Nodes(); !slices.Equal(got, nodes(n)) {
					t.Errorf("linked with %v, want %s", got, n)
				}
			})
		})
	}
}

// dialMe has another node connect.
func (w *world) dialMe(n Node) {
	w.t.Helper()
	synctest.Wait()
	if err := w.net.Dial(w.t.Context(), n, "me:1"); err != nil {
		w.t.Fatal(err)
	}
}

// TestRule04_ATransportThatListsOtherNames: one that lists a node by another name
// than the one it was connected by is asked again and again, but after a backoff.
func TestRule04_ATransportThatListsOtherNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connects atomic.Int32
		src := newSource()
		sup, err := Start(t.Context(), []Topology{{
			Name: "names", Strategy: src,
			Connect:    func(context.Context, Node) error { connects.Add(1); return nil },
			Disconnect: func(context.Context, Node) error { return nil },
			ListNodes:  func(context.Context) ([]Node, error) { return nodes("a:1"), nil },
		}}, WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		events := sup.Events(t.Context())
		src.r().Replace(nodes("db@a:1"))
		const hour = time.Hour
		time.Sleep(hour)
		if n, most := int(connects.Load()), int(hour/(backoffMax/4)); n > most {
			t.Errorf("%d calls of Connect in an hour, more than %d", n, most)
		}
		told := false
		for len(events) > 0 {
			e, ok := (<-events).(NodeDisconnected)
			told = told || ok && errors.Is(e.Cause, ErrLost) && strings.Contains(e.Cause.Error(), "not listed by that name")
		}
		if !told {
			t.Error("nothing tells why")
		}
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
	})
}
