package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/memory"
)

// TestPanic has a panic of the user's Resolver be a failure of Run, which the
// supervisor calls again, and say where it was.
func TestPanic(t *testing.T) {
	for name, queries := range map[string][]string{"one query": {"web"}, "several": {"web", "db", "api"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				self, err := memory.New().Join("10.0.0.1:4370")
				if err != nil {
					t.Fatal(err)
				}
				var mended atomic.Bool
				s := Strategy{Queries: queries, Port: 4370, Resolver: func(_ context.Context, query string) ([]string, error) {
					if query == "web" && !mended.Load() {
						panic("a mistake of the user's")
					}
					return []string{"10.0.0.2"}, nil
				}}
				sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: s}},
					cluster.WithTransport(self), cluster.WithLogger(slog.New(slog.DiscardHandler)))
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					sup.Stop()
					sup.Wait()
				}()
				synctest.Wait()
				status := sup.Status().Topologies[0]
				if status.State != cluster.StateWaiting || status.LastError == nil {
					t.Fatalf("the topology is %s with %v, want it to wait for its next Run", status.State, status.LastError)
				}
				for _, say := range []string{"panicked: a mistake of the user's", "panic_test.go"} {
					if !strings.Contains(status.LastError.Error(), say) {
						t.Errorf("the error is %q, want %q in that", status.LastError, say)
					}
				}
				mended.Store(true)
				time.Sleep(time.Minute)
				synctest.Wait()
				if status := sup.Status().Topologies[0]; status.State != cluster.StateRunning {
					t.Errorf("then the topology is %s with %v", status.State, status.LastError)
				}
			})
		})
	}
}

// TestSidePanics has all calls end before the first panic goes on, with its
// value and stack, out of one side and of one within another.
func TestSidePanics(t *testing.T) {
	mistake := errors.New("a mistake")
	for name, f := range map[string]func(){
		"in one side": func() { panic(mistake) },
		"in an inner": func() { side(2, func(int) { panic(mistake) }) },
		"an end":      func() { runtime.Goexit() },
		"inner ends":  func() { side(2, func(int) { runtime.Goexit() }) },
	} {
		t.Run(name, func(t *testing.T) {
			var ended atomic.Int32
			defer func() {
				err, ok := recover().(error)
				if !ok || !errors.Is(err, mistake) && !errors.Is(err, errEnded) || strings.Count(fmt.Sprint(err), "panic_test.go") == 0 {
					t.Errorf("it panics with %v, want the mistake, or the end, and its stack", err)
				}
				if n := ended.Load(); n != 2*maxBeside {
					t.Errorf("%d calls have ended before that, want all %d", n, 2*maxBeside)
				}
			}()
			side(2*maxBeside, func(int) {
				defer ended.Add(1)
				f()
			})
		})
	}
}

// TestGoexit has no node be removed by a Resolver that ends its goroutine, as
// t.Fatal of a user's test does: it is as a panic.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New()
		self, err := network.Join("10.0.0.1:4370")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := network.Join("10.0.0.2:4370"); err != nil {
			t.Fatal(err)
		}
		var fatal atomic.Bool
		s := Strategy{Queries: []string{"web"}, Port: 4370, Authoritative: true, Resolver: func(context.Context, string) ([]string, error) {
			if fatal.Load() {
				runtime.Goexit()
			}
			return []string{"10.0.0.2"}, nil
		}}
		sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: s}},
			cluster.WithTransport(self), cluster.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			sup.Stop()
			sup.Wait()
		}()
		synctest.Wait()
		fatal.Store(true)
		time.Sleep(time.Hour)
		if got := sup.Nodes(); len(got) != 1 {
			t.Errorf("an hour of Goexit has left %q, want the node", got)
		}
		if err := sup.Status().Topologies[0].LastError; err == nil || !strings.Contains(err.Error(), "runtime.Goexit") || !strings.Contains(err.Error(), "panic_test.go") {
			t.Errorf("the error is %v, want what ended where", err)
		}
	})
}
