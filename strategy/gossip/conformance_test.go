package gossip_test

import (
	"context"
	"flag"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

const testSecret = "a secret of these tests"

// The tests that go side by side wait rather than work, so there are more of them
// than processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// onLoopback is a strategy that nothing else on this machine or its network
// hears: on loopback, by a free port and a group of the tests' own.
func onLoopback(tb testing.TB) gossip.Strategy {
	tb.Helper()
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	if err := free.Close(); err != nil {
		tb.Fatal(err)
	}
	return gossip.Strategy{
		Secrets: []string{testSecret}, Port: port, Groups: []string{"233.252.1.199"},
		Interface: "127.0.0.1", Interval: 100 * time.Millisecond,
	}
}

// A crowd are nodes that gossip.
type crowd struct {
	tb       testing.TB
	strategy gossip.Strategy
	stops    map[cluster.Node]func()
}

func newCrowd(tb testing.TB, s gossip.Strategy, nodes ...cluster.Node) *crowd {
	tb.Helper()
	c := &crowd{tb: tb, strategy: s, stops: map[cluster.Node]func(){}}
	tb.Cleanup(func() { c.set() })
	c.set(nodes...)
	return c
}

// set has these nodes gossip, and no others.
func (c *crowd) set(nodes ...cluster.Node) {
	wanted := map[cluster.Node]bool{}
	for _, n := range nodes {
		wanted[n] = true
		if c.stops[n] == nil {
			c.stops[n] = c.start(n)
		}
	}
	for n, stop := range c.stops {
		if !wanted[n] {
			stop()
			delete(c.stops, n)
		}
	}
}

// start has a node gossip until it is stopped, which says farewell.
func (c *crowd) start(self cluster.Node) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.strategy.Run(ctx, cluster.NewRoster(self, nil, func(cluster.Change) {})); err != nil {
			c.tb.Errorf("Run of %s returns %v", self, err)
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// TestConformance is over real sockets. One way of sending has its checks one after the
// other, in which goroutines of timers are looked for, too.
func TestConformance(t *testing.T) {
	var mu sync.Mutex
	taken := map[int]bool{} // ports, which another check may be about to bind
	apart := func(tb testing.TB) gossip.Strategy {
		tb.Helper()
		mu.Lock()
		defer mu.Unlock()
		for {
			if s := onLoopback(tb); !taken[s.Port] {
				taken[s.Port] = true
				return s
			}
		}
	}
	harness := func(parallel bool, change func(*gossip.Strategy)) strategytest.Harness {
		return strategytest.Harness{
			Parallel: parallel,
			New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
				tb.Helper()
				s := apart(tb)
				change(&s)
				c := newCrowd(tb, s, nodes...)
				return strategytest.Source{Strategy: s, Set: c.set}
			},
			// Loopback ones, as of others the strategy would have to dial this machine.
			Nodes: []cluster.Node{"127.0.0.1:4370", "127.0.0.1:4371", "127.0.0.1:4372", "127.0.0.1:4373"},
			Hints: true,
			Cannot: strategytest.Cannot{
				Fail: "the loopback interface can't be broken; TestConformanceFaults has a network that can",
			},
		}
	}
	t.Run("sealed", func(t *testing.T) {
		strategytest.Test(t, harness(false, func(*gossip.Strategy) {}))
	})
	t.Run("in the clear", func(t *testing.T) {
		strategytest.Test(t, harness(true, func(s *gossip.Strategy) { s.Secrets, s.Insecure = nil, true }))
	})
	t.Run("broadcast", func(t *testing.T) {
		strategytest.Test(t, harness(true, func(s *gossip.Strategy) { s.Groups, s.BroadcastOnly, s.IfAddr = nil, true, "0.0.0.0" }))
	})
}
