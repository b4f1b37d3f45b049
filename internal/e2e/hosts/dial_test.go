//go:build linux

package hosts_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
)

// TestDial has the test itself, which is on no host, talk to a host from it and from
// another, and not when they are cut.
func TestDial(t *testing.T) {
	n := hosts.New(t, 2)
	answer(t, n.Hosts[0])
	to := netip.AddrPortFrom(n.Hosts[0].IPv4, 7).String()
	check := func(from *hosts.Host, want bool) {
		t.Helper()
		conn, err := from.Dial(t.Context(), "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := conn.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); (err == nil) != want {
			t.Errorf("an answer to %s: %v, want one: %t", from.IPv4, err, want)
		}
	}
	check(n.Hosts[0], true)
	check(n.Hosts[1], true)
	n.Cut(n.Hosts...)
	check(n.Hosts[0], true)
	check(n.Hosts[1], false)
}
