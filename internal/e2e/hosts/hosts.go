//go:build linux

// Package hosts makes several hosts on one machine, for tests: network namespaces
// whose links meet at a bridge, which lies in a namespace of its own.
//
//	net := hosts.New(t, 3)
//	cmd := net.Hosts[0].Command(t.Context(), "ping", net.Hosts[1].IPv4.String())
//	net.Cut(net.Hosts[0], net.Hosts[1])
//	net.Lose(30, net.Hosts...)
//	net.Heal(net.Hosts...)
//
// It needs root, and the programs ip (iproute2) and nft (nftables). Without them
// New fails the test with a sentence that says so, or skips it if the variable
// CLUSTER_E2E of the environment is "skip". No packet leaves the machine.
//
// Everything is removed when the test ends. What a process left that was killed
// is swept by the next New: the names hold the process's ID.
//
// # Concurrency
//
// A Net may be used from one goroutine at a time.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// SkipVariable of the environment has tests that need hosts skipped, if it is
// SkipValue.
const (
	SkipVariable = "CLUSTER_E2E"
	SkipValue    = "skip"
)

const (
	prefix   = "cluster-e2e-" // of all namespaces; the process's ID follows
	maxHosts = 250
)

// A Net is a network of hosts.
type Net struct {
	Hosts []*Host

	tb     testing.TB
	bridge string // the namespace of the bridge
	faults map[direction]fault
}

// A Host is one machine of a Net. Its interfaces are lo and eth0.
type Host struct {
	// IPv4 and IPv6 are its addresses, in networks that all hosts share:
	// 10.77.0.0/24 and fd77::/64.
	IPv4, IPv6 netip.Addr

	namespace string
	port      string // its port of the bridge
}

// A direction is from one port of the bridge to another.
type direction struct{ from, to string }

// A fault is how many in a hundred packets are dropped.
type fault int

// New makes n hosts, which are removed when the test ends.
func New(tb testing.TB, n int) *Net {
	tb.Helper()
	if os.Getenv(SkipVariable) == SkipValue {
		tb.Skipf("%s is %q", SkipVariable, SkipValue)
	}
	if err := possible(os.Geteuid(), exec.LookPath); err != nil {
		tb.Fatal(err)
	}
	if n < 1 || n > maxHosts {
		tb.Fatalf("hosts: New of %d hosts; want 1 to %d", n, maxHosts)
	}
	sweep(tb)
	net := &Net{tb: tb, faults: map[direction]fault{}}
	net.bridge = net.namespace("bridge")
	net.ip("-n", net.bridge, "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
	net.ip("-n", net.bridge, "link", "set", "br0", "up")
	for i := range n {
		net.Hosts = append(net.Hosts, net.newHost(i+1))
	}
	return net
}

// possible says what is missing.
func possible(user int, look func(program string) (path string, err error)) error {
	const instead = "or set " + SkipVariable + "=" + SkipValue + " to skip the tests that need hosts"
	if user != 0 {
		return errors.New("hosts: making network namespaces needs root: run the tests as root, " + instead)
	}
	for _, p := range []struct{ program, pkg string }{{"ip", "iproute2"}, {"nft", "nftables"}} {
		if _, err := look(p.program); err != nil {
			return fmt.Errorf("hosts: %s is not installed: install the package %s (.ci/e2e does), %s", p.program, p.pkg, instead)
		}
	}
	return nil
}

// namespace makes one, which is removed when the test ends.
func (n *Net) namespace(role string) string {
	n.tb.Helper()
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s%d-%d-%s", prefix, os.Getpid(), i, role)
		out, err := exec.CommandContext(n.tb.Context(), "ip", "netns", "add", name).CombinedOutput()
		if err != nil && strings.Contains(string(out), "File exists") {
			continue // of another Net of this process
		}
		if err != nil {
			n.tb.Fatalf("hosts: ip netns add %s: %v: %s", name, err, out)
		}
		n.tb.Cleanup(func() { remove(n.tb, name) })
		return name
	}
}

// remove is called after the test's context is done, and in sweeps.
func remove(tb testing.TB, namespace string) {
	tb.Helper()
	if out, err := exec.CommandContext(context.Background(), "ip", "netns", "delete", namespace).CombinedOutput(); err != nil {
		tb.Errorf("hosts: ip netns delete %s: %v: %s", namespace, err, out)
	}
}

// sweep removes what processes left that are gone.
func sweep(tb testing.TB) {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "ip", "netns", "list").Output()
	if err != nil {
		tb.Fatalf("hosts: ip netns list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if stale(name) {
			// Another process may sweep as well, so that it may be gone.
			_ = exec.CommandContext(tb.Context(), "ip", "netns", "delete", name).Run()
		}
	}
}

// stale reports whether a namespace was made by New in a process that is gone.
func stale(namespace string) bool {
	rest, ours := strings.CutPrefix(namespace, prefix)
	id, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(id)
	return ours && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func (n *Net) newHost(i int) *Host {
	n.tb.Helper()
	h := &Host{
		IPv4: netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}),
		IPv6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 15: byte(i)}),
		port: fmt.Sprintf("v%d", i),
	}
	h.namespace = n.namespace(fmt.Sprintf("h%d", i))
	n.ip("-n", h.namespace, "link", "set", "lo", "up")
	n.Plug(h)
	return h
}

// Plug gives the host a new eth0, after [Net.Unplug] has taken the old one.
func (n *Net) Plug(h *Host) {
	n.tb.Helper()
	n.ip("link", "add", h.port, "netns", n.bridge, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
	n.ip("-n", n.bridge, "link", "set", h.port, "master", "br0", "up")
	n.ip("-n", h.namespace, "address", "add", h.IPv4.String()+"/24", "broadcast", "+", "dev", "eth0")
	n.ip("-n", h.namespace, "address", "add", h.IPv6.String()+"/64", "dev", "eth0", "nodad")
	n.ip("-n", h.namespace, "link", "set", "eth0", "up")
}

// Unplug takes the host's eth0 away, with its addresses.
func (n *Net) Unplug(h *Host) {
	n.tb.Helper()
	n.ip("-n", h.namespace, "link", "delete", "eth0")
}

// ip runs that program, which must succeed.
func (n *Net) ip(args ...string) {
	n.tb.Helper()
	n.ipWith("", args...)
}

func (n *Net) ipWith(stdin string, args ...string) {
	n.tb.Helper()
	cmd := exec.CommandContext(n.tb.Context(), "ip", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.tb.Fatalf("hosts: ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Command is a program that runs on the host. It is killed when ctx is done, and
// when the process that started it dies.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // ip becomes the program
	return cmd
}

// Cut drops all packets between any two of these hosts, in both directions.
func (n *Net) Cut(hosts ...*Host) {
	n.tb.Helper()
	n.Lose(100, hosts...)
}

// Isolate drops all packets between the host and all others.
func (n *Net) Isolate(h *Host) {
	n.tb.Helper()
	for _, other := range n.Hosts {
		n.set(100, h, other)
	}
	n.applyFaults()
}

// Lose drops percent in a hundred packets, at random, between any two of these
// hosts, in each direction.
func (n *Net) Lose(percent int, hosts ...*Host) {
	n.tb.Helper()
	if percent < 0 || percent > 100 {
		n.tb.Fatalf("hosts: Lose of %d %%; want 0 to 100", percent)
	}
	for i, a := range hosts {
		for _, b := range hosts[i+1:] {
			n.set(fault(percent), a, b)
		}
	}
	n.applyFaults()
}

// Heal has all packets pass between any two of these hosts again.
func (n *Net) Heal(hosts ...*Host) {
	n.tb.Helper()
	n.Lose(0, hosts...)
}

func (n *Net) set(f fault, a, b *Host) {
	for _, d := range []direction{{a.port, b.port}, {b.port, a.port}} {
		if f == 0 || a == b {
			delete(n.faults, d)
		} else {
			n.faults[d] = f
		}
	}
}

// applyFaults has the bridge drop what the faults say, in one step.
func (n *Net) applyFaults() {
	n.tb.Helper()
	n.ipWith(rules(n.faults), "netns", "exec", n.bridge, "nft", "-f", "-")
}

// rules are what nft is told; the table is made anew.
func rules(faults map[direction]fault) string {
	var lines []string
	for d, f := range faults {
		chance := ""
		if f < 100 {
			chance = fmt.Sprintf(" numgen random mod 100 < %d", f)
		}
		lines = append(lines, fmt.Sprintf("\t\tiifname %q oifname %q%s drop\n", d.from, d.to, chance))
	}
	slices.Sort(lines)
	return "table bridge faults\ndelete table bridge faults\n" +
		"table bridge faults {\n\tchain forward {\n\t\ttype filter hook forward priority 0\n" +
		strings.Join(lines, "") + "\t}\n}\n"
}
