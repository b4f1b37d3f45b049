package mesh_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// superviseAll runs n nodes that know the first, until the test ends.
func superviseAll(t *testing.T, net mesh.FakeNet, n int) []*cluster.Supervisor {
	t.Helper()
	all := make([]*cluster.Supervisor, n)
	for i := range all {
		all[i] = superviseOne(t, net, i)
	}
	return all
}

func superviseOne(t *testing.T, net mesh.FakeNet, i int) *cluster.Supervisor {
	t.Helper()
	sup, err := cluster.Start(t.Context(), []cluster.Topology{topology("web", string(node(0)))},
		cluster.WithTransport(net.Listen(t, i, nil)), cluster.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
	})
	return sup
}

// converge waits until all have converged, and returns how long it took.
func converge(t *testing.T, all []*cluster.Supervisor, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for i, sup := range all {
		if err := sup.WaitConverged(ctx); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	return time.Since(began)
}

// TestAClusterConverges: five nodes of which each knows the first alone have
// converged within seconds, with four links each; so do six, when one joins late;
// when two come apart, all tell of them and nobody has converged, until they are
// linked again.
func TestAClusterConverges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := mesh.NewFakeNet()
		all := superviseAll(t, net, 5)
		t.Logf("converged after %s", converge(t, all, 15*time.Second))
		wantFull := func(when string) {
			for i, sup := range all {
				if n := len(sup.Nodes()); n != len(all)-1 {
					t.Errorf("%s: node %d is linked with %d", when, i, n)
				}
			}
		}
		wantFull("converged")
		if took := converge(t, all, time.Second); took > 0 {
			t.Errorf("converged, and waits for %s", took)
		}
		all = append(all, superviseOne(t, net, 5))
		t.Logf("with one more after %s", converge(t, reversed(all), 15*time.Second))
		wantFull("with one more")

		events := make([]<-chan cluster.Event, len(all))
		for i, sup := range all {
			events[i] = sup.Events(t.Context())
		}
		net.Cut(1, 2)
		time.Sleep(15 * time.Second)
		apart := []transport.Pair{{node(1), node(2)}}
		for i, sup := range all {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var e *cluster.NotConvergedError
			if err := sup.WaitConverged(ctx); !errors.As(err, &e) || len(e.Differ) == 0 {
				t.Errorf("node %d has converged without its pair: %v", i, err)
			}
			cancel()
		}
		time.Sleep(time.Minute)
		for i, sup := range all {
			if st := sup.Status().Diverged; len(st) != 1 || !reflect.DeepEqual(st[0].Apart, apart) || st[0].Self != node(i) {
				t.Errorf("node %d: %+v", i, st)
			}
		}
		net.Heal()
		converge(t, all, 45*time.Second)
		wantFull("healed")
		synctest.Wait()
		for i := range all {
			var told []cluster.Event
			for len(events[i]) > 0 {
				switch e := (<-events[i]).(type) {
				case cluster.Diverged:
					e.Differ = nil
					told = append(told, e)
				case cluster.Converged:
					told = append(told, e)
				}
			}
			want := []cluster.Event{cluster.Diverged{Self: node(i), Apart: apart}, cluster.Converged{Self: node(i)}}
			if !reflect.DeepEqual(told, want) {
				t.Errorf("node %d tells %+v, want %+v", i, told, want)
			}
		}
	})
}

// TestConvergedIsAboutTheLinksThatAreThere: a node that has been alone for long,
// and agreed with itself, isn't taken for converged when its first link comes up.
func TestConvergedIsAboutTheLinksThatAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, source := mesh.NewFakeNet(), make(saying)
		other := superviseOne(t, net, 0)
		sup := supervise(t, net, 1, &zone{}, cluster.Topology{Name: "web", Strategy: source})
		time.Sleep(time.Minute)
		source <- func(r *cluster.Roster) { r.Add(node(0)) }
		if took := converge(t, []*cluster.Supervisor{sup, other}, time.Minute); took < 5*time.Second {
			t.Errorf("converged after %s", took)
		}
		wantNodes(t, "converged", sup, 0)
	})
}

// TestWhoStartsFirstWaits: a mesh that has been alone for longer than a heartbeat
// agrees with itself, and isn't converged by that when who it wants comes later.
func TestWhoStartsFirstWaits(t *testing.T) {
	for _, late := range []time.Duration{300 * time.Millisecond, time.Second} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, source := mesh.NewFakeNet(), make(saying)
				sup := supervise(t, net, 1, &zone{}, cluster.Topology{Name: "web", Strategy: source})
				time.Sleep(time.Minute)
				source <- func(r *cluster.Roster) { r.Add(node(0)) }
				took := make(chan time.Duration)
				go func() { took <- converge(t, []*cluster.Supervisor{sup}, time.Minute) }()
				time.Sleep(late)
				superviseOne(t, net, 0)
				if took := <-took; took < 5*time.Second {
					t.Errorf("converged after %s", took)
				}
				wantNodes(t, "converged", sup, 0)
			})
		})
	}
}

// reversed has the newest first, which knows least.
func reversed(all []*cluster.Supervisor) []*cluster.Supervisor {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}
