package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// A zone answers for the name web, with the hosts that it has now.
type zone struct {
	mu    sync.Mutex
	hosts []int
}

func (z *zone) set(hosts ...int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.hosts = hosts
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if host != "web" || len(z.hosts) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var ips []netip.Addr
	for _, i := range z.hosts {
		ips = append(ips, mesh.HostIP(i))
	}
	return ips, nil
}

func node(i int) cluster.Node { return cluster.Node(fmt.Sprintf("%s:%d", mesh.HostIP(i), mesh.Port)) }

func topology(name string, hosts ...string) cluster.Topology {
	return cluster.Topology{Name: name, Strategy: static.Strategy{Hosts: hosts}}
}

// supervise runs topologies on the i-th host until the test ends.
func supervise(t *testing.T, net mesh.FakeNet, i int, z *zone, topologies ...cluster.Topology) *cluster.Supervisor {
	t.Helper()
	m := net.Listen(t, i, func(c *mesh.Config) { c.Resolver, c.NoPeerExchange = z, true })
	sup, err := cluster.Start(t.Context(), topologies, cluster.WithTransport(m), cluster.WithLogger(slog.New(slog.DiscardHandler)))
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

func wantNodes(t *testing.T, when string, sup *cluster.Supervisor, hosts ...int) {
	t.Helper()
	synctest.Wait()
	var want []cluster.Node
	for _, i := range hosts {
		want = append(want, node(i))
	}
	slices.Sort(want)
	if got := sup.Nodes(); !slices.Equal(got, want) {
		t.Errorf("%s: linked with %v, want %v", when, got, want)
	}
}

// TestANameOfFiveHosts: static web:4370 with five addresses behind it, this node
// among them, ends in four links each and no flapping; what the name stands for
// later is followed.
func TestANameOfFiveHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, z := mesh.NewFakeNet(), &zone{hosts: []int{0, 1, 2, 3, 4}}
		var sups []*cluster.Supervisor
		for i := range 5 {
			sups = append(sups, supervise(t, net, i, z, topology("web", "web:4370")))
		}
		time.Sleep(5 * time.Second)
		wantNodes(t, "the first", sups[0], 1, 2, 3, 4)
		wantNodes(t, "the last", sups[4], 0, 1, 2, 3)

		events, since := sups[0].Events(t.Context()), time.Now()
		time.Sleep(10 * time.Minute)
		for <-events; len(events) > 0; {
			t.Errorf("in 10 quiet minutes: %+v", <-events)
		}
		for i := range 5 {
			if n := net.Dials(i, since); n > 0 {
				t.Errorf("host %d was dialled %d times, though all is well", i, n)
			}
		}

		z.set(0, 1, 2, 3, 4, 5)
		newcomer := supervise(t, net, 5, z)
		time.Sleep(time.Minute)
		wantNodes(t, "a sixth address", sups[0], 1, 2, 3, 4, 5)
		wantNodes(t, "the sixth, which dials nobody", newcomer, 0, 1, 2, 3, 4)

		z.set(0, 1, 2, 3, 5)
		time.Sleep(time.Hour)
		wantNodes(t, "one address less", sups[0], 1, 2, 3, 4, 5)
		sups[4].Stop()
		for range 10 {
			time.Sleep(time.Minute)
		}
		wantNodes(t, "the name has no failure for it", sups[0], 1, 2, 3, 4, 5)
	})
}

// TestTwoNamesOfOneNode: a topology that knows a node by its address and another
// that knows it by a name are two wants of one node.
func TestTwoNamesOfOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, z := mesh.NewFakeNet(), &zone{hosts: []int{1}}
		byAddr, byName := topology("by-address", string(node(1))), topology("by-name", "web:4370")
		sup := supervise(t, net, 0, z, byAddr, byName)
		supervise(t, net, 1, z)
		time.Sleep(time.Minute)
		wantNodes(t, "both want it", sup, 1)
		apply := func(topologies ...cluster.Topology) {
			if err := sup.Apply(topologies); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		apply(byName)
		wantNodes(t, "one wants it, by name", sup, 1)
		apply(byAddr, byName)
		apply(byAddr)
		wantNodes(t, "one wants it, by address", sup, 1)
		apply()
		wantNodes(t, "neither does", sup)
	})
}

// TestOneSidedWantSettles: a node that another wants and that doesn't want it is
// dialled at the longest backoff from the first refusal on, and the link doesn't
// flap; when it wants it again, the link is there at once.
func TestOneSidedWantSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, z := mesh.NewFakeNet(), &zone{}
		a := supervise(t, net, 0, z, topology("b", string(node(1))))
		b := supervise(t, net, 1, z, topology("a", string(node(0))))
		time.Sleep(time.Minute)
		wantNodes(t, "both want it", a, 1)
		const backoff, hour = 30 * time.Second, 50 * time.Minute
		events := a.Events(t.Context())
		if err := b.Apply(nil); err != nil {
			t.Fatal(err)
		}
		last := nextRefusal(t, events)
		for range 4 {
			at := nextRefusal(t, events)
			if pause := at.Sub(last); pause < backoff/2 || pause > backoff+time.Second {
				t.Errorf("dialled %s after a refusal, want at least %s and at most %s", pause, backoff/2, backoff)
			}
			last = at
		}
		wantNodes(t, "one doesn't any more", a)
		since := time.Now()
		time.Sleep(hour)
		if n, most := net.Dials(1, since), int(hour/(backoff/2)); n > most || n < int(hour/backoff)/2 {
			t.Errorf("%d dials in %s, want at most %d, for ever", n, hour, most)
		}
		for <-events; len(events) > 0; {
			if e, ok := (<-events).(cluster.NodeConnected); ok {
				t.Errorf("it flaps: %+v", e)
			}
		}
		if err := b.Apply([]cluster.Topology{topology("a", string(node(0)))}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantNodes(t, "both want it again", a, 1)
	})
}

// nextRefusal waits until a dial is refused by who doesn't want it, and returns
// when that was.
func nextRefusal(t *testing.T, events <-chan cluster.Event) time.Time {
	t.Helper()
	for e := range events {
		if failed, ok := e.(cluster.ConnectFailed); ok {
			if !errors.Is(failed.Err, transport.ErrUnwanted) {
				t.Errorf("it is refused for another reason: %v", failed.Err)
			}
			return time.Now()
		}
	}
	t.Fatal("there are no more events")
	return time.Time{}
}

// saying is a strategy that says what it is told to.
type saying chan func(*cluster.Roster)

func (s saying) Run(ctx context.Context, r *cluster.Roster) error {
	for {
		select {
		case say := <-s:
			say(r)
		case <-ctx.Done():
			return nil
		}
	}
}

// TestRemovedWhileLost: a node of which the source says that it is gone isn't
// looked for by the mesh either; one that was merely heard of is.
func TestRemovedWhileLost(t *testing.T) {
	tests := []struct {
		name       string
		found, say func(*cluster.Roster)
		dialled    bool
	}{
		{"removed", func(r *cluster.Roster) { r.Replace([]cluster.Node{node(1)}) }, func(r *cluster.Roster) { r.Remove(node(1)) }, false},
		{"missing", func(r *cluster.Roster) { r.Replace([]cluster.Node{node(1)}) }, func(r *cluster.Roster) { r.Replace(nil) }, false},
		{"a hint that runs out", func(r *cluster.Roster) { r.Add(node(1)) }, func(r *cluster.Roster) { r.Add() }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, z, source := mesh.NewFakeNet(), &zone{}, make(saying)
				sup := supervise(t, net, 0, z, cluster.Topology{Name: "web", Strategy: source})
				net.Listen(t, 1, func(c *mesh.Config) { c.ForgetAfter = -1 })
				source <- tt.found
				time.Sleep(time.Second)
				wantNodes(t, "found", sup, 1)
				net.Cut(0, 1)
				time.Sleep(time.Minute)
				source <- tt.say
				time.Sleep(time.Hour)
				since := time.Now()
				time.Sleep(10 * time.Minute)
				if n := net.Dials(1, since); (n > 0) != tt.dialled {
					t.Errorf("%d dials in 10 minutes, want some: %v", n, tt.dialled)
				}
				net.Heal()
			})
		})
	}
}
