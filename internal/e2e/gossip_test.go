//go:build linux

package e2e_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/internal/e2e/node"
)

const (
	port    = 4370
	secret  = "a secret of the tests between hosts"
	another = "another secret, of those beside them"
)

func TestMain(m *testing.M) {
	node.Main()
	os.Exit(m.Run())
}

func ipv4(h *hosts.Host) netip.Addr { return h.IPv4 }
func ipv6(h *hosts.Host) netip.Addr { return h.IPv6 }

// start starts a node on each host, which it has at the address.
func start(t *testing.T, all []*hosts.Host, address func(*hosts.Host) netip.Addr, secret string, s gossip.Strategy) (nodes []*node.Process) {
	t.Helper()
	for _, h := range all {
		nodes = append(nodes, node.Start(t, h, node.Config{
			Bind: netip.AddrPortFrom(address(h), port).String(), Secret: secret, Gossip: s,
			Heartbeat: 200 * time.Millisecond, DownAfter: time.Second,
		}))
	}
	return nodes
}

// others are the nodes but this one, in order.
func others(nodes []*node.Process, but *node.Process) (all []cluster.Node) {
	for _, n := range nodes {
		if n != but {
			all = append(all, n.Node)
		}
	}
	slices.Sort(all)
	return all
}

// awaitMesh waits until each node is linked with all others and with no other, and
// has heard of each by gossip itself.
func awaitMesh(t *testing.T, by time.Time, nodes []*node.Process) {
	t.Helper()
	for _, n := range nodes {
		want := others(nodes, n)
		n.Await(by, "that all others are linked and heard", func(r node.Report) bool {
			unheard := slices.DeleteFunc(slices.Clone(want), func(o cluster.Node) bool { return slices.Contains(r.Heard, o) })
			return slices.Equal(r.Linked, want) && len(unheard) == 0
		})
	}
}

// families are how packets may go, and where nodes are then.
func families() map[string]struct {
	address  func(*hosts.Host) netip.Addr
	strategy gossip.Strategy
} {
	return map[string]struct {
		address  func(*hosts.Host) netip.Addr
		strategy gossip.Strategy
	}{
		"defaults":       {ipv4, gossip.Strategy{}},
		"IPv4 multicast": {ipv4, gossip.Strategy{Groups: []string{gossip.DefaultGroup}}},
		"IPv6 multicast": {ipv6, gossip.Strategy{Groups: []string{gossip.DefaultGroup6}}},
		"IPv4 broadcast": {ipv4, gossip.Strategy{BroadcastOnly: true, IfAddr: "0.0.0.0"}},
		"IPv6 all hosts": {ipv6, gossip.Strategy{BroadcastOnly: true, IfAddr: "::"}},
	}
}

// TestMesh has 5 hosts form a full mesh within two seconds of their start.
func TestMesh(t *testing.T) {
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			net := hosts.New(t, 5)
			began := time.Now()
			nodes := start(t, net.Hosts, f.address, secret, f.strategy)
			awaitMesh(t, began.Add(2*time.Second), nodes)
			t.Logf("a full mesh %s after the start", time.Since(began).Round(time.Millisecond))
		})
	}
}

// TestLeaving has a node that leaves be gone for the others, and one that comes
// later be known to all within a second or two.
func TestLeaving(t *testing.T) {
	net := hosts.New(t, 4)
	nodes := start(t, net.Hosts[:3], ipv4, secret, gossip.Strategy{})
	awaitMesh(t, time.Now().Add(2*time.Second), nodes)
	nodes[2].Stop()
	for _, n := range nodes[:2] {
		n.Await(time.Now().Add(10*time.Second), "the one that left neither linked nor heard of", func(r node.Report) bool {
			return !slices.Contains(r.Linked, nodes[2].Node) && !slices.Contains(r.Heard, nodes[2].Node)
		})
	}
	began := time.Now()
	late := start(t, net.Hosts[3:], ipv4, secret, gossip.Strategy{})
	awaitMesh(t, began.Add(2*time.Second), slices.Concat(nodes[:2], late))
}

// TestStrangers has two clusters with different secrets stay apart, though they
// hear each other's packets.
func TestStrangers(t *testing.T) {
	net := hosts.New(t, 4)
	ours := start(t, net.Hosts[:2], ipv4, secret, gossip.Strategy{})
	theirs := start(t, net.Hosts[2:], ipv4, another, gossip.Strategy{})
	by := time.Now().Add(10 * time.Second)
	awaitMesh(t, by, ours)
	awaitMesh(t, by, theirs)
	for _, group := range [][]*node.Process{ours, theirs} {
		for _, n := range group {
			n.Await(by, "many packets of the other cluster, and only its own to be heard of", func(r node.Report) bool {
				return r.Forged >= 10 && slices.Equal(r.Heard, others(group, n))
			})
			if r, _ := n.Report(); !slices.Equal(r.Linked, others(group, n)) {
				t.Errorf("%s is linked with %q, want %q", n.Node, r.Linked, others(group, n))
			}
		}
	}
}

// TestLoss has a mesh form though a third of all packets is lost, those of TCP
// too.
func TestLoss(t *testing.T) {
	for name, f := range families() {
		if strings.HasPrefix(name, "IPv6") || name == "defaults" {
			continue // what is lost is the same
		}
		t.Run(name, func(t *testing.T) {
			net := hosts.New(t, 5)
			net.Lose(30, net.Hosts...)
			began := time.Now()
			var nodes []*node.Process
			for _, h := range net.Hosts { // with heartbeats that survive TCP's retries
				nodes = append(nodes, node.Start(t, h, node.Config{
					Bind: netip.AddrPortFrom(h.IPv4, port).String(), Secret: secret, Gossip: f.strategy,
				}))
			}
			awaitMesh(t, began.Add(time.Minute), nodes)
			t.Logf("a full mesh %s after the start", time.Since(began).Round(time.Millisecond))
		})
	}
}

// TestCut has a host that is cut off be noticed by all, and the mesh be whole
// again after that.
func TestCut(t *testing.T) {
	net := hosts.New(t, 4)
	nodes := start(t, net.Hosts, ipv4, secret, gossip.Strategy{Interval: time.Second})
	awaitMesh(t, time.Now().Add(2*time.Second), nodes)

	net.Isolate(net.Hosts[0])
	lost, rest := nodes[0], nodes[1:]
	by := time.Now().Add(15 * time.Second)
	lost.Await(by, "no links", func(r node.Report) bool { return len(r.Linked) == 0 })
	awaitMesh(t, by, rest)

	net.Heal(net.Hosts...)
	healed := time.Now()
	awaitMesh(t, healed.Add(30*time.Second), nodes)
	t.Logf("whole again %s after the cut ended", time.Since(healed).Round(time.Millisecond))
}

// TestCutFromStart has nodes that could not hear each other at their start find
// each other when they can.
func TestCutFromStart(t *testing.T) {
	net := hosts.New(t, 3)
	net.Isolate(net.Hosts[0])
	nodes := start(t, net.Hosts, ipv4, secret, gossip.Strategy{Interval: time.Second})
	awaitMesh(t, time.Now().Add(2*time.Second), nodes[1:])
	net.Heal(net.Hosts...)
	awaitMesh(t, time.Now().Add(10*time.Second), nodes)
}

// TestPlugged has a node gossip by an interface that comes after its start, in
// place of one that went.
func TestPlugged(t *testing.T) {
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			net := hosts.New(t, 3)
			first := start(t, net.Hosts[:1], f.address, secret, f.strategy)
			first[0].Await(time.Now().Add(10*time.Second), "that it is up", func(r node.Report) bool { return r.Up })
			net.Unplug(net.Hosts[0])
			rest := start(t, net.Hosts[1:], f.address, secret, f.strategy)
			awaitMesh(t, time.Now().Add(2*time.Second), rest)
			net.Plug(net.Hosts[0])
			plugged := time.Now()
			awaitMesh(t, plugged.Add(20*time.Second), slices.Concat(first, rest))
			t.Logf("a full mesh %s after it was plugged in", time.Since(plugged).Round(time.Millisecond))
		})
	}
}

// TestOneHost has nodes of one host find each other by loopback, without a network.
func TestOneHost(t *testing.T) {
	net := hosts.New(t, 1)
	net.Unplug(net.Hosts[0])
	began := time.Now()
	var nodes []*node.Process
	for _, bind := range []string{"127.0.0.1:4370", "127.0.0.1:4371", "127.0.0.1:4372"} {
		nodes = append(nodes, node.Start(t, net.Hosts[0], node.Config{Bind: bind, Secret: secret}))
	}
	awaitMesh(t, began.Add(2*time.Second), nodes)
}
