package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// taken returns what is queued once everything has come to rest.
func taken(events <-chan Event) []Event {
	synctest.Wait()
	var all []Event
	for len(events) > 0 {
		all = append(all, <-events)
	}
	return all
}

func checkEvents(t *testing.T, when string, got []Event, want ...Event) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got\n", when)
		for _, e := range got {
			t.Errorf("%T%+v", e, e)
		}
		t.Errorf("want\n")
		for _, e := range want {
			t.Errorf("%T%+v", e, e)
		}
	}
}

func TestEventsOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errConnect, errDisconnect := errors.New("can't connect"), errors.New("can't disconnect")
		var failing atomic.Bool
		failing.Store(true)
		f := &funcs{fail: func(op string, _ Node) error {
			if op != "ListNodes" {
				time.Sleep(10 * time.Millisecond)
			}
			switch {
			case failing.Load() && op == "Connect":
				return errConnect
			case failing.Load() && op == "Disconnect":
				return errDisconnect
			default:
				return nil
			}
		}}
		w := newWorld(t)
		src := newSource()
		w.start([]Topology{f.topology("test", src)})
		events := w.sup.Events(t.Context())
		src.r().Replace(nodes("a:1"))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		failing.Store(false)
		checkEvents(t, "a failed attempt", taken(events), Snapshot{},
			ConnectFailed{Node: "a:1", Topology: "test", Attempt: 1, Duration: 10 * time.Millisecond, Err: errConnect})
		time.Sleep(backoffMin + 10*time.Millisecond)
		checkEvents(t, "a link", taken(events), NodeConnected{Node: "a:1", Topology: "test", Duration: 10 * time.Millisecond, Failures: 1})
		linked := time.Now()
		since := w.sup.Status().Topologies[0].Nodes[0].Since
		failing.Store(true)
		src.r().Remove("a:1")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		failing.Store(false)
		checkEvents(t, "a failed cut", taken(events),
			DisconnectFailed{Node: "a:1", Topology: "test", Attempt: 1, Duration: 10 * time.Millisecond, Err: errDisconnect})
		time.Sleep(backoffMin + 10*time.Millisecond)
		got := taken(events)
		if len(got) != 1 {
			t.Fatalf("a cut: %+v", got)
		}
		e, ok := got[0].(NodeDisconnected)
		if !ok || !errors.Is(e.Cause, ErrRemoved) || e.Topology != "test" || e.Duration < linked.Sub(since)+20*time.Millisecond {
			t.Errorf("a cut: %+v", got[0])
		}
	})
}

func TestCausesOfADisconnect(t *testing.T) {
	tests := []struct {
		name  string
		cause error
		end   func(w *world, src *source)
	}{
		{"lost", ErrLost, func(w *world, _ *source) { w.net.Break("me:1", "a:1") }},
		{"left", ErrLeft, func(w *world, _ *source) { w.net.Leave("a:1", "me:1") }},
		{"removed", ErrRemoved, func(_ *world, src *source) { src.r().Remove("a:1") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1")
				src := w.startOne()
				src.r().Add("a:1")
				synctest.Wait()
				events := w.sup.Events(t.Context())
				time.Sleep(50 * time.Second)
				tt.end(w, src)
				got := taken(events)
				if len(got) < 2 {
					t.Fatalf("got %+v", got)
				}
				checkEvents(t, tt.name, got[:2], Snapshot{Nodes: nodes("a:1")},
					NodeDisconnected{Node: "a:1", Topology: "test", Cause: tt.cause, Duration: 50 * time.Second})
			})
		})
	}
}

func TestEventsOfALinkThatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "in:1")
		w.startOne()
		events := w.sup.Events(t.Context())
		w.dialMe("in:1")
		checkEvents(t, "the other side has dialled", taken(events), Snapshot{}, NodeConnected{Node: "in:1"})
	})
}

func TestEventsOfStrategies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		src := w.startOne()
		events := w.sup.Events(t.Context())
		src.r().Fail(errSource)
		src.r().Fail(errSource)
		src.end <- errSource
		time.Sleep(backoffMin + goodRun)
		checkEvents(t, "failures", taken(events), Snapshot{},
			StrategyFailed{Topology: "test", Failures: 1, Err: errSource},
			StrategyFailed{Topology: "test", Failures: 2, Err: errSource},
			StrategyFailed{Topology: "test", Failures: 3, Err: errSource},
			StrategyRestarted{Topology: "test"})
		src.r().Add()
		src.r().Fail(errSource)
		src.end <- nil
		time.Sleep(time.Hour)
		checkEvents(t, "an answer, a failure and the end", taken(events),
			StrategyFailed{Topology: "test", Failures: 1, Err: errSource}, StrategyEnded{Topology: "test"})
		if err := w.sup.Apply([]Topology{{Name: "test", Strategy: newSource()}}); err != nil {
			t.Fatal(err)
		}
		checkEvents(t, "another strategy", taken(events), StrategyRestarted{Topology: "test"})
	})
}

func TestEachSubscriberSeesAllInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		src := w.startOne()
		early := w.sup.Events(t.Context())
		src.r().Replace(nodes())
		ctx, cancel := context.WithCancel(t.Context())
		gone := w.sup.Events(ctx)
		cancel()
		for range gone {
		}
		var want []Event
		for i := range 100 {
			n := Node(fmt.Sprintf("n%02d:1", i))
			w.join(n)
			src.r().Add(n)
			synctest.Wait()
			want = append(want, NodeConnected{Node: n, Topology: "test"})
		}
		late := w.sup.Events(t.Context())
		checkEvents(t, "early", taken(early), append([]Event{Snapshot{}}, want...)...)
		checkEvents(t, "late", taken(late), Snapshot{Nodes: w.sup.Nodes()})
		w.sup.Stop()
		if _, open := <-early; open {
			t.Error("open after the stop")
		}
	})
}

func TestALaggingSubscriberBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		src := w.startOne()
		slow := w.sup.Events(t.Context())
		src.r().Add("a:1")
		synctest.Wait()
		for range eventQueue {
			src.r().Fail(errSource)
		}
		src.r().Fail(errSource)
		got := taken(slow)
		const held = 2 // the count and a snapshot; what was told since comes after
		if len(got) < held {
			t.Fatalf("got %+v", got)
		}
		lagged, ok := got[0].(Lagged)
		if !ok || lagged.N < eventQueue {
			t.Errorf("first %T%+v, want Lagged with what was missed", got[0], got[0])
		}
		checkEvents(t, "then", got[1:2], Snapshot{Nodes: nodes("a:1")})
		if missed := lagged.N + len(got) - held; missed != eventQueue+2 { // a:1 and the failures
			t.Errorf("%d missed and %d read make %d, want all %d", lagged.N, len(got)-held, missed, eventQueue+2)
		}
	})
}
