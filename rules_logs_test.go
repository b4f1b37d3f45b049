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

// told are the events of a core, in short.
type told struct {
	*testCore

	short []string
}

func (c *told) tell() {
	for _, e := range c.events {
		switch e := e.(type) {
		case NodeConnected:
			c.short = append(c.short, fmt.Sprint("up after ", e.Failures))
		case ConnectFailed:
			c.short = append(c.short, fmt.Sprint("failed ", e.Attempt))
		case NodeDisconnected:
			c.short = append(c.short, "down")
		case DisconnectFailed:
			c.short = append(c.short, fmt.Sprint("not cut ", e.Attempt))
		}
	}
	c.events = nil
}

// dial lets attempts to connect a:1 end so, one after the other.
func (c *told) dial(canon []Node, ends ...error) {
	for _, err := range ends {
		c.now = c.now.Add(recheckInterval)
		c.step()
		c.connected(c.now, "a:1", canon, err)
		c.tell()
	}
}

// failCuts lets attempts to cut a:1 fail.
func (c *told) failCuts(times int) {
	for range times {
		c.now = c.now.Add(backoffMax)
		c.step()
		c.disconnected(c.now, "a:1", errSource)
		c.tell()
	}
}

// lose has the transport list nobody.
func (c *told) lose() {
	for range 2 { // the first may have been asked for before the link came up
		c.list(nil, nil)
		c.tell()
	}
}

func TestRule11_FailuresAreCountedAsTheyAreTold(t *testing.T) {
	wanted := Change{Kind: Replaced, Nodes: nodes("a:1")}
	kept := Change{Kind: Replaced, Keep: nodes("a:1")}
	removed := Change{Kind: Removed, Nodes: nodes("a:1")}
	tests := []struct {
		name    string
		aliases bool
		do      func(c *told, w *wants)
		want    []string
	}{
		{"a recovery tells how many came before", false, func(c *told, _ *wants) {
			c.dial(nil, errSource, errSource, errSource, nil)
			c.now = c.now.Add(time.Minute)
			c.lose()
			c.dial(nil, nil)
		}, []string{"failed 1", "failed 2", "failed 3", "up after 3", "down", "up after 0"}},
		{"the other side's link is a recovery, too", false, func(c *told, _ *wants) {
			c.dial(nil, errSource, errSource)
			c.list(nodes("a:1"), nil)
			c.tell()
		}, []string{"failed 1", "failed 2", "up after 2"}},
		{"a link that breaks at once is no failure", false, func(c *told, _ *wants) {
			c.dial(nil, nil)
			c.lose()
			c.dial(nil, errSource, errSource)
		}, []string{"up after 0", "down", "failed 1", "failed 2"}},
		{"nor is a name of which a part is linked", true, func(c *told, _ *wants) {
			c.dial(nodes("b:1"), transport.ErrPartial, transport.ErrPartial, transport.ErrPartial)
			c.now = c.now.Add(time.Minute)
			c.lose()
			c.dial(nil, errSource)
		}, []string{"up after 0", "down", "failed 1"}},
		{"wanted again, it begins anew", false, func(c *told, w *wants) {
			c.dial(nil, errSource, errSource)
			w.apply(c.now, kept)
			c.step()
			w.apply(c.now, wanted)
			c.dial(nil, errSource)
		}, []string{"failed 1", "failed 2", "failed 1"}},
		{"and so does the cutting", false, func(c *told, w *wants) {
			c.dial(nil, nil)
			w.apply(c.now, removed)
			c.failCuts(2)
			w.apply(c.now, wanted)
			c.step()
			w.apply(c.now, removed)
			c.failCuts(1)
		}, []string{"up after 0", "not cut 1", "not cut 2", "not cut 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &told{testCore: newTestCore(tt.aliases)}
			w := c.begin("test")
			w.apply(c.now, wanted)
			tt.do(c, w)
			if !slices.Equal(c.short, tt.want) {
				t.Errorf("got %q, want %q", c.short, tt.want)
			}
		})
	}
}

// TestRule11_AnswersBetweenFailedRuns: such an answer is no recovery, until a Run
// has gone on for a while or has ended well.
func TestRule11_AnswersBetweenFailedRuns(t *testing.T) {
	tests := []struct {
		name string
		end  func(ctx context.Context, r *Roster) error // of the last Run
	}{
		{"one goes on", func(ctx context.Context, _ *Roster) error { <-ctx.Done(); return nil }},
		{"one ends", func(context.Context, *Roster) error { return nil }},
		{"one answers late", func(ctx context.Context, r *Roster) error {
			r.Fail(errSource)
			time.Sleep(2 * goodRun)
			r.Add()
			<-ctx.Done()
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out lockedBuffer
				var good atomic.Bool
				w := newWorld(t)
				w.start([]Topology{{Name: "test", Strategy: runFunc(func(ctx context.Context, r *Roster) error {
					r.Add()
					if good.Load() {
						return tt.end(ctx, r)
					}
					time.Sleep(time.Second)
					panic("told to")
				})}}, WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
				check := func(when string, want map[string]int) {
					t.Helper()
					synctest.Wait()
					for what, times := range want {
						if n := strings.Count(out.String(), what); n != times {
							t.Errorf("%s: %q is logged %d times, want %d:\n%s", when, what, n, times, out.String())
						}
					}
				}
				time.Sleep(time.Hour)
				check("after an hour of it", map[string]int{"\n": 2, "the strategy panicked": 1, "discovery failed": 1})
				if st := w.sup.Status().Topologies[0]; st.Failures < 100 {
					t.Errorf("%d failures are counted in an hour", st.Failures)
				}
				good.Store(true)
				time.Sleep(time.Hour)
				check("after the last", map[string]int{"\n": 3, "discovery works again": 1})
				if st := w.sup.Status().Topologies[0]; st.Failures != 0 {
					t.Errorf("it works again, and %d failures are counted", st.Failures)
				}
			})
		})
	}
}

// TestRule11_TheWayOutIsNoFailure: what a strategy says once it was told to end
// doesn't count.
func TestRule11_TheWayOutIsNoFailure(t *testing.T) {
	tests := []struct {
		name string
		end  func(w *world)
	}{
		{"stopped", func(w *world) { w.sup.Stop() }},
		{"changed", func(w *world) { w.apply(Topology{Name: "test", Strategy: newSource()}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out lockedBuffer
				w := newWorld(t)
				w.start([]Topology{{Name: "test", Strategy: runFunc(func(ctx context.Context, r *Roster) error {
					r.Replace(nodes("down:1"))
					<-ctx.Done()
					r.Fail(ctx.Err())
					r.Replace(nil)
					return ctx.Err()
				})}}, WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
				synctest.Wait()
				tt.end(w)
				time.Sleep(time.Hour)
				synctest.Wait()
				st := w.sup.Status().Topologies[0]
				if st.LastError != nil || strings.Contains(out.String(), "discovery failed") {
					t.Errorf("LastError is %v, and it is logged:\n%s", st.LastError, out.String())
				}
				if len(st.Nodes) != 1 || !st.Nodes[0].RemoveAt.IsZero() {
					t.Errorf("down:1 is not as it was: %+v", st.Nodes)
				}
			})
		})
	}
}

// contextKey is the key of a value in the context of a line.
type contextKey struct{}

// contextHandler adds a value of the context to each line.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.Any("value", ctx.Value(contextKey{})))
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

// TestTheLoggerOfARosterIsTheUsers: it does what log/slog promises.
func TestTheLoggerOfARosterIsTheUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		w := newWorld(t)
		src := w.startOne(WithLogger(slog.New(contextHandler{slog.NewTextHandler(&out, nil)})))
		log := src.r().Logger()
		if log.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("it is enabled for lines that the user's isn't")
		}
		list := []int{1, 2, 3}
		log.InfoContext(context.WithValue(t.Context(), contextKey{}, "of the context"), "line", "list", list)
		list[0] = 4
		if want := `msg=line topology=test list="[1 2 3]" value="of the context"`; !strings.Contains(out.String(), want) {
			t.Errorf("got %q at once, want %q", out.String(), want)
		}
	})
}

// TestLoggingDuringTheStop: whatever a goroutine still says that outlives Run
// does no harm.
func TestLoggingDuringTheStop(t *testing.T) {
	var out lockedBuffer
	for range 100 {
		begun, stray := make(chan struct{}), make(chan struct{})
		strategy := runFunc(func(ctx context.Context, r *Roster) error {
			go func() {
				defer close(stray)
				close(begun)
				for range 100 {
					r.Logger().Info("still here")
					r.Fail(errSource)
					r.Add()
				}
			}()
			<-ctx.Done()
			return nil
		})
		sup, err := Start(t.Context(), []Topology{(&funcs{}).topology("test", strategy)}, WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
		<-stray
	}
}

// TestWaitWaitsForTheLogger: for a line that is being written, and for one that
// comes while it waits.
func TestWaitWaitsForTheLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var written atomic.Int64
		w.start(nil, WithLogger(slog.New(handlerFunc(func() { time.Sleep(time.Second); written.Add(1) }))))
		w.sup.log.Info("before the stop")
		w.sup.Stop()
		time.Sleep(time.Second / 2)
		w.sup.log.Info("while it waits")
		if err := w.sup.Wait(); err != nil || written.Load() != 2 {
			t.Errorf("Wait returns %v after %d lines, want 2", err, written.Load())
		}
	})
}

func TestErrorsOfConnectAreToldApart(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want outcome
	}{
		{"none", nil, outcome{}},
		{"self", transport.ErrSelf, outcome{self: true}},
		{"partial", transport.ErrPartial, outcome{partial: true}},
		{"unwanted", transport.ErrUnwanted, outcome{unwanted: true}},
		{"joined", errors.Join(errSource, transport.ErrPartial), outcome{partial: true}},
		{"another", errSource, outcome{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err != nil {
				tt.err = fmt.Errorf("connecting: %w", tt.err)
			}
			tt.want.err = tt.err
			if got := outcomeOf(tt.err); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
