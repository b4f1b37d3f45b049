//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/strategy/gossip"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/internal/e2e/node"
)

// sh runs a script on a host, which must succeed.
func sh(t *testing.T, h *hosts.Host, script string) {
	t.Helper()
	if out, err := h.Command(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// network gives a host one more, of two interfaces, where nobody else is.
func network(i int) string {
	return fmt.Sprintf("ip link add net%[1]d type veth peer name far%[1]d; ip link set far%[1]d up; "+
		"ip addr add 192.168.%[1]d.1/24 dev net%[1]d; ip link set net%[1]d up\n", i)
}

// TestManyNetworks has nodes find each other on the last of more interfaces than
// one socket can hear a group on.
func TestManyNetworks(t *testing.T) {
	for _, name := range []string{"IPv4 multicast", "IPv6 multicast", "IPv4 broadcast"} {
		f := families()[name]
		t.Run(name, func(t *testing.T) {
			net := hosts.New(t, 3)
			for _, h := range net.Hosts {
				net.Unplug(h)
				var script strings.Builder
				for i := range 25 {
					script.WriteString(network(i + 1))
				}
				sh(t, h, script.String())
				net.Plug(h)
			}
			began := time.Now()
			nodes := start(t, net.Hosts, f.address, secret, f.strategy)
			awaitMesh(t, began.Add(10*time.Second), nodes)
		})
	}
}

// TestLoneAddress has nodes find each other by broadcast, though their addresses are
// of networks that have no broadcast address.
func TestLoneAddress(t *testing.T) {
	for _, bits := range []int{31, 32} {
		t.Run(fmt.Sprintf("of a /%d", bits), func(t *testing.T) {
			net := hosts.New(t, 2)
			for _, h := range net.Hosts {
				sh(t, h, fmt.Sprintf("ip addr flush dev eth0; ip addr add %s/%d dev eth0; ip route replace 10.77.0.0/24 dev eth0", h.IPv4, bits))
			}
			began := time.Now()
			nodes := start(t, net.Hosts, ipv4, secret, gossip.Strategy{BroadcastOnly: true, IfAddr: "0.0.0.0"})
			awaitMesh(t, began.Add(5*time.Second), nodes)
		})
	}
}

// TestMute has a node whose network takes no packets say so: by failing, if that is
// the only one that leads anywhere, and else by a warning.
func TestMute(t *testing.T) {
	const (
		drop = "nft add table inet f; nft add chain inet f out '{ type filter hook output priority 0; }'; nft add rule inet f out oifname eth0 udp dport 45892 drop\n"
		heal = "nft delete table inet f"
	)
	fails := func(r node.Report) bool { return strings.Contains(r.Fails, "interface eth0") }
	warns := func(r node.Report) bool {
		return r.Fails == "" && len(r.Warned) == 1 && strings.Contains(r.Warned[0], `interfaces="eth0 (IPv4), eth0 (IPv6)"`)
	}
	const bridge = "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up\n"
	for name, tt := range map[string]struct {
		beside string // another network
		says   func(node.Report) bool
	}{
		"alone":                  {"", fails},
		"beside another network": {network(1), warns},
		"beside a new bridge":    {bridge, warns},
		"beside a bridge that lost its port": {
			bridge + network(1) + "ip link set net1 master docker0\nip link delete net1\n", fails,
		},
	} {
		t.Run(name, func(t *testing.T) {
			net := hosts.New(t, 2)
			mute := net.Hosts[0]
			sh(t, mute, tt.beside+drop)
			nodes := start(t, net.Hosts, ipv4, secret, gossip.Strategy{Interval: time.Second})
			nodes[0].Await(time.Now().Add(15*time.Second), "that nothing can be sent by eth0", tt.says)
			sh(t, mute, heal)
			awaitMesh(t, time.Now().Add(15*time.Second), nodes)
		})
	}
}
