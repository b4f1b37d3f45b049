package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// alike is a strategy that says itself whether it has changed.
type alike struct {
	*source

	Interval time.Duration
}

func (a alike) Equal(b Strategy) bool {
	other, ok := b.(alike)
	return ok && a.Interval == other.Interval
}

func (w *world) apply(topologies ...Topology) {
	w.t.Helper()
	if err := w.sup.Apply(topologies); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func TestApplyRefusesAllForOneMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		src, added := newSource(), newSource()
		w.start([]Topology{{Name: "web", Strategy: src}})
		src.r().Replace(nodes("a:1"))
		before := w.sup.Status()
		err := w.sup.Apply([]Topology{{Name: "new", Strategy: added}, {Name: "bad", Strategy: wrong{}}})
		if err == nil {
			t.Fatal("it is accepted")
		}
		time.Sleep(time.Hour)
		w.wantLinked("the old ones run on", "a:1")
		if st := w.sup.Status(); len(st.Topologies) != 1 || st.Topologies[0].Name != before.Topologies[0].Name || src.ran() != 1 || added.ran() != 0 {
			t.Errorf("%+v, run %d and %d times", st.Topologies, src.ran(), added.ran())
		}
	})
}

// TestAStaleAnswerIsNotTheNewStrategys: a roster that was made while the strategy
// was being changed doesn't count.
func TestAStaleAnswerIsNotTheNewStrategys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		old := newSource()
		w.start([]Topology{{Name: "web", Strategy: old}})
		stale := old.r()
		stale.Replace(nodes("a:1"))
		synctest.Wait()
		reopen := func() {
			stale.mu.Lock()
			defer stale.mu.Unlock()
			stale.closed = false // as one is that was made right after the old one was closed
		}
		runner := w.sup.runners[0]
		runner.change(Topology{Name: "web", Strategy: newSource()}, runner.group)
		for _, when := range []string{"before the new strategy runs", "while it runs"} {
			reopen()
			stale.Replace(nodes("b:1"))
			stale.Fail(errSource)
			if st := w.sup.Status().Topologies[0]; len(st.Nodes) != 1 || st.Nodes[0].Want != Wanted || !st.Nodes[0].RemoveAt.IsZero() || st.LastError != nil {
				t.Errorf("%s: %+v, want a:1, wanted still", when, st)
			}
			synctest.Wait()
		}
		w.apply()
		reopen()
		stale.Replace(nodes("b:1"))
		time.Sleep(2 * defaultRemoveGrace)
		w.wantLinked("when the topology is gone")
	})
}

func TestApplyLeavesAloneWhatIsUnchanged(t *testing.T) {
	src := newSource()
	f := &funcs{}
	tests := []struct {
		name     string
		old, new func() Topology
		runs     int
	}{
		{
			"the same pointer",
			func() Topology { return Topology{Strategy: src} },
			func() Topology { return Topology{Strategy: src} }, 1,
		},
		{
			"equal by Equal",
			func() Topology { return Topology{Strategy: alike{src, 1}} },
			func() Topology { return Topology{Strategy: alike{&source{}, 1}} }, 1,
		},
		{
			"changed by Equal",
			func() Topology { return Topology{Strategy: alike{src, 1}} },
			func() Topology { return Topology{Strategy: alike{src, 2}} }, 2,
		},
		{
			"equal by DeepEqual",
			func() Topology { return Topology{Strategy: wrapped{src}} },
			func() Topology { return Topology{Strategy: wrapped{src}} }, 1,
		},
		{
			"of another type",
			func() Topology { return Topology{Strategy: wrapped{src}} },
			func() Topology { return Topology{Strategy: src} }, 2,
		},
		{
			"funcs, which can't be compared",
			func() Topology { return f.topology("", src) },
			func() Topology { return (&funcs{}).topology("", src) }, 1,
		},
		{
			"funcs instead of a transport",
			func() Topology { return Topology{Strategy: src} },
			func() Topology { return f.topology("", src) }, 2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				*src = source{end: make(chan error)}
				w := newWorld(t)
				before, after := tt.old(), tt.new()
				before.Name, after.Name = "web", "web"
				w.start([]Topology{before})
				synctest.Wait()
				w.apply(after)
				if src.ran() != tt.runs {
					t.Errorf("run %d times, want %d", src.ran(), tt.runs)
				}
			})
		})
	}
}

func TestApplyOfAnotherStrategyCutsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		old, src := newSource(), newSource()
		w.start([]Topology{{Name: "web", Strategy: old}})
		old.r().Replace(nodes("a:1", "b:1"))
		synctest.Wait()
		late := old.r()
		w.apply(Topology{Name: "web", Strategy: src})
		late.Remove("a:1")
		w.wantLinked("a word of the old one comes too late", "a:1", "b:1")
		for _, n := range w.sup.Status().Topologies[0].Nodes {
			if n.Want != Wanted || !n.RemoveAt.IsZero() {
				t.Errorf("it isn't wanted any more: %+v", n)
			}
		}
		time.Sleep(time.Hour)
		src.r().Fail(errSource)
		time.Sleep(time.Hour)
		w.wantLinked("the new one has not answered yet", "a:1", "b:1")
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Nanosecond)
		w.wantLinked("in the grace", "a:1", "b:1")
		time.Sleep(time.Nanosecond)
		w.wantLinked("after the grace", "a:1")
	})
}

// TestRule04_ApplyWhileTheSourceIsDown: until the new strategy knows better, what
// the old one wanted is dialled for ever.
func TestRule04_ApplyWhileTheSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		asked := 0
		web := Topology{Name: "web", Strategy: Poll(time.Minute, func(context.Context) ([]Node, error) {
			switch asked++; {
			case asked == 1:
				return nodes("a:1", "b:1"), nil
			case time.Since(w.began) < 48*time.Hour:
				return nil, errSource
			default:
				return nodes("a:1"), nil
			}
		})}
		w.start([]Topology{web})
		synctest.Wait()
		w.apply(web)
		for range 2 {
			time.Sleep(23 * time.Hour)
			w.net.Break("me:1", "a:1")
			w.net.Break("me:1", "b:1")
			time.Sleep(time.Second)
			w.wantLinked("after a loss while the source is down", "a:1", "b:1")
		}
		time.Sleep(3 * time.Hour)
		w.wantLinked("long after its first answer", "a:1")
	})
}

func TestApplyOfAChangedIntervalCutsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		lookup := func(context.Context) ([]Node, error) { return nodes("a:1"), nil }
		w.start([]Topology{{Name: "web", Strategy: Poll(time.Minute, lookup)}})
		synctest.Wait()
		all := w.sup.Events(t.Context())
		for i := range 10 {
			w.apply(Topology{Name: "web", Strategy: Poll(time.Duration(i+1)*time.Second, lookup)})
			time.Sleep(time.Minute)
		}
		for _, e := range taken(all) {
			if _, cut := e.(NodeDisconnected); cut {
				t.Fatalf("%+v", e)
			}
		}
		w.wantLinked("all the time", "a:1")
	})
}

func TestApplyRemovesATopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1")
		web, db := newSource(), newSource()
		w.start([]Topology{{Name: "web", Strategy: web}, {Name: "db", Strategy: db}})
		web.r().Replace(nodes("a:1", "b:1"))
		web.r().Add("c:1")
		db.r().Replace(nodes("b:1"))
		synctest.Wait()
		w.apply(Topology{Name: "db", Strategy: db})
		time.Sleep(defaultRemoveGrace - time.Nanosecond)
		w.wantLinked("in the grace", "a:1", "b:1", "c:1")
		time.Sleep(time.Nanosecond)
		w.wantLinked("another wants b:1", "b:1")
		if st := w.sup.Status(); len(st.Topologies) != 1 {
			t.Errorf("status: %+v", st)
		}
		w.apply(Topology{Name: "web", Strategy: hosts{"a:1"}})
		w.wantLinked("a topology may come back", "a:1", "b:1")
	})
}

func TestApplyMovesATopologyToAnotherTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		other := w.join("me:2")
		w.start([]Topology{{Name: "web", Strategy: hosts{"a:1"}}})
		w.wantLinked("at first", "a:1")
		w.apply(Topology{Name: "web", Strategy: hosts{"a:1"}, Transport: other})
		got, _ := other.ListNodes(t.Context())
		if !slices.Equal(got, nodes("a:1")) {
			t.Errorf("the other transport is linked with %v", got)
		}
		w.wantLinked("the old transport, in the grace", "a:1")
		time.Sleep(defaultRemoveGrace)
		w.wantLinked("and after it", []Node(nil)...)
		if got := w.sup.Nodes(); !slices.Equal(got, nodes("a:1")) {
			t.Errorf("Nodes: %v", got)
		}
		w.apply()
		time.Sleep(2 * defaultRemoveGrace)
		synctest.Wait()
		if got := w.sup.Nodes(); len(got) != 0 {
			t.Errorf("Nodes: %v", got)
		}
	})
}

func TestApplyOfOtherFuncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old, latest := &funcs{}, &funcs{linked: map[Node]bool{"a:1": true}}
		src := newSource()
		w.start([]Topology{old.topology("web", src)})
		src.r().Replace(nodes("a:1"))
		synctest.Wait()
		w.apply(latest.topology("web", src))
		src.r().Remove("a:1")
		synctest.Wait()
		if o, l := old.linked["a:1"], latest.linked["a:1"]; !o || l {
			t.Errorf("want the latest Disconnect called: linked there %v, at the old one %v", l, o)
		}
	})
}

func TestApplyFromMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		w.start(nil)
		done := make(chan error)
		for i := range 20 {
			go func() {
				top := Topology{Name: "web", Strategy: alike{newSource(), time.Duration(i)}}
				done <- w.sup.Apply([]Topology{top})
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if st := w.sup.Status(); len(st.Topologies) != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestApplyAfterTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sup, err := Start(t.Context(), nil, WithTransport(w.me), WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		sup.Stop()
		if err := sup.Apply(nil); !errors.Is(err, ErrStopped) {
			t.Errorf("Apply: %v", err)
		}
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
	})
}
