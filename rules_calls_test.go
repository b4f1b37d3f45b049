package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of the rules about user code that doesn't return, or not as it should.

// TestRule10_ATransportThatDoesntReturn panics, or ends its goroutine as t.FailNow
// does: either is an error.
func TestRule10_ATransportThatDoesntReturn(t *testing.T) {
	for name, instead := range map[string]func(){"panic": func() { panic("told to") }, "Goexit": runtime.Goexit} {
		for _, op := range []string{"Connect", "Disconnect", "ListNodes"} {
			t.Run(op+" "+name, func(t *testing.T) { testATransportThatDoesntReturn(t, op, instead) })
		}
	}
}

func testATransportThatDoesntReturn(t *testing.T, op string, instead func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var left atomic.Int64
		left.Store(3)
		f := &funcs{fail: func(at string, _ Node) error {
			if at == op && left.Add(-1) >= 0 {
				instead()
			}
			return nil
		}}
		src := newSource()
		w.start([]Topology{f.topology("test", src)}, WithMaxConnects(2)) // of which none may stay taken
		src.r().Add("a:1", "b:1")
		time.Sleep(time.Minute)
		src.r().Remove("a:1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.sup.Nodes(); !slices.Equal(got, nodes("b:1")) || left.Load() > 0 {
			t.Errorf("linked with %v, want b:1", got)
		}
	})
}

// TestRule07_AStrategyThatEndsItsGoroutine, as t.FailNow does, is run again.
func TestRule07_AStrategyThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		asked := 0
		w.start([]Topology{{Name: "test", Strategy: Poll(time.Second, func(context.Context) ([]Node, error) {
			if asked++; asked == 2 {
				runtime.Goexit()
			}
			return nodes("a:1"), nil
		})}})
		time.Sleep(time.Minute)
		w.wantLinked("all the time", "a:1")
		st := w.sup.Status().Topologies[0]
		if asked < 50 || st.State != StateRunning || !strings.Contains(fmt.Sprint(st.LastError), "runtime.Goexit") {
			t.Errorf("asked %d times: %+v", asked, st)
		}
	})
}

// A stuckHandler doesn't return from WithAttrs until it is told to.
type stuckHandler struct {
	slog.Handler

	release chan struct{}
}

func (h stuckHandler) WithAttrs([]slog.Attr) slog.Handler { <-h.release; return h.Handler }

func TestRule08_WaitNamesALoggerThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := stuckHandler{slog.DiscardHandler, make(chan struct{})}
		sup, err := Start(t.Context(), []Topology{{Name: "test", Strategy: newSource()}}, WithTransport(w.me), WithLogger(slog.New(h)))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		sup.Stop()
		if err := sup.Wait(); err == nil || !strings.Contains(err.Error(), "the logger's WithAttrs has not returned for 10s") {
			t.Errorf("Wait: %v", err)
		}
		close(h.release)
	})
}

func TestStuckIsNeverEmpty(t *testing.T) {
	if text := (&calls{}).stuck(time.Now()); text == "" {
		t.Error("it says nothing")
	}
}
