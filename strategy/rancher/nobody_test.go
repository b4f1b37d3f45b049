package rancher

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/memory"
)

// TestNobody has an answer of nobody but this node be asked for twice more before
// the others are given up, though the version stays the same.
func TestNobody(t *testing.T) {
	for _, tired := range []bool{false, true} {
		t.Run(fmt.Sprintf("tired %t", tired), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				m.tired, s.Interval = tired, time.Hour
				m.setNodes(self)
				told := start(t, s, self)
				for range 3 {
					expect(t, told)
				}
				if d := time.Since(m.began); d > 25*time.Second {
					t.Errorf("it takes %s to be told twice more, want less than the remove grace", d)
				}
			})
		})
	}
}

// supervise runs a strategy with links, of self to a and b where they are wanted,
// until the test ends.
func supervise(t *testing.T, s Strategy, grace time.Duration) *cluster.Supervisor {
	t.Helper()
	n := memory.New()
	nodes := map[cluster.Node]cluster.Transport{}
	for _, node := range []cluster.Node{self, a, b} {
		var err error
		if nodes[node], err = n.Join(node); err != nil {
			t.Fatal(err)
		}
	}
	sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: s, Transport: nodes[self]}},
		cluster.WithRemoveGrace(grace), cluster.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sup.Stop(); _ = sup.Wait() })
	return sup
}

// TestNobodyIsConfirmedInTime has no node be cut for one answer of nobody after
// which the server is mute.
func TestNobodyIsConfirmedInTime(t *testing.T) {
	for _, grace := range []time.Duration{500 * time.Millisecond, 30 * time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				sup := supervise(t, s, grace)
				time.Sleep(time.Minute)
				m.setNodes(self)
				synctest.Wait()
				m.fail(hang, true)
				if sup.Status().Topologies[0].Nodes[0].RemoveAt.IsZero() {
					t.Error("the answer of nobody was not told")
				}
				time.Sleep(time.Hour)
				if got := sup.Nodes(); !slices.Equal(got, []cluster.Node{a}) {
					t.Errorf("it is linked with %q after one answer of nobody, want %q", got, a)
				}
			})
		})
	}
}

// TestUpgrade has the other container of a service of two replaced, so that there
// is nobody for a while, and the new one be linked as soon as it is listed, of
// whatever length the grace is.
func TestUpgrade(t *testing.T) {
	for _, grace := range []time.Duration{10 * time.Second, 30 * time.Second, time.Hour} {
		t.Run(grace.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				s.Interval = time.Hour
				sup := supervise(t, s, grace)
				time.Sleep(time.Minute)
				m.setNodes(self)
				time.Sleep(1500 * time.Millisecond)
				m.setNodes(self, b)
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if got := sup.Nodes(); !slices.Equal(got, []cluster.Node{a, b}) {
					t.Errorf("100ms after a change it is linked with %q, want %q and the new %q", got, a, b)
				}
			})
		})
	}
}

// TestSlowServer has one that takes its time for each request be believed that
// there is nobody, however long the remove grace is, and never fail. Whoever is there
// after that is linked all the same.
func TestSlowServer(t *testing.T) {
	for name, tt := range map[string]struct {
		takes, grace time.Duration
		tired        bool
	}{
		"in time":             {3500 * time.Millisecond, 30 * time.Second, false},
		"in time, tired":      {3500 * time.Millisecond, 30 * time.Second, true},
		"just in time":        {4900 * time.Millisecond, 30 * time.Second, false},
		"a short grace":       {2 * time.Second, 5 * time.Second, false},
		"a short grace tired": {2 * time.Second, 5 * time.Second, true},
		"a very short grace":  {4900 * time.Millisecond, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMetadata()
				m.tired = tt.tired
				m.setNodes(self, a)
				s := Strategy{Client: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if sleep(r.Context(), tt.takes) {
						m.ServeHTTP(w, r)
					}
				})).client()}
				sup := supervise(t, s, tt.grace)
				time.Sleep(2 * time.Minute)
				m.setNodes(self)
				time.Sleep(time.Minute)
				until, fine := time.Now().Add(time.Hour), 0
				for time.Now().Before(until) {
					if is := sup.Status().Topologies[0]; is.Failures == 0 {
						fine++
					}
					time.Sleep(time.Second / 2)
				}
				if got := sup.Nodes(); fine < 7200 || len(got) > 0 {
					t.Errorf("it is well %d of 7200 times and linked with %q, want that always, and nobody", fine, got)
				}
				m.setNodes(self, b)
				time.Sleep(2 * time.Minute)
				if got := sup.Nodes(); !slices.Equal(got, []cluster.Node{b}) {
					t.Errorf("after a change it is linked with %q, want %q", got, b)
				}
			})
		})
	}
}
