//go:build linux

package hosts_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
)

// pingVariable makes this program one that pings, or answers pings, by UDP.
const pingVariable = "HOSTS_TEST_PING"

func TestMain(m *testing.M) {
	if to := os.Getenv(pingVariable); to != "" {
		if err := ping(to); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ping answers whoever asks at a port of its own if to begins with a colon, and
// else asks there 100 times, and prints how many answers have come when there
// are no more.
func ping(to string) error {
	conn, err := net.ListenPacket("udp", map[bool]string{true: to, false: ":0"}[strings.HasPrefix(to, ":")])
	if err != nil {
		return err
	}
	buf := make([]byte, 10)
	if strings.HasPrefix(to, ":") {
		fmt.Println("ready")
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return err
			}
			if _, err := conn.WriteTo(buf[:n], from); err != nil {
				return err
			}
		}
	}
	for i := range 100 {
		if _, err := conn.WriteTo([]byte{byte(i)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			return err
		}
	}
	for answers := 0; ; answers++ {
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_, err = fmt.Println(answers)
			return err
		}
		if err != nil {
			return err
		}
	}
}

func command(t *testing.T, h *hosts.Host, to string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(t.Context(), self)
	cmd.Env = append(os.Environ(), pingVariable+"="+to, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// answer has a host answer pings.
func answer(t *testing.T, h *hosts.Host) {
	t.Helper()
	cmd := command(t, h, ":7")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
}

// answers returns how many of 100 pings are answered.
func answers(t *testing.T, from *hosts.Host, to netip.Addr) (n int) {
	t.Helper()
	out, err := command(t, from, netip.AddrPortFrom(to, 7).String()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return n
}

// TestFaults has packets pass, be lost and be cut as the rig says.
func TestFaults(t *testing.T) {
	n := hosts.New(t, 3)
	a, b, c := n.Hosts[0], n.Hosts[1], n.Hosts[2]
	for _, h := range n.Hosts {
		answer(t, h)
	}
	check := func(when string, from *hosts.Host, to netip.Addr, least, most int) {
		t.Helper()
		if got := answers(t, from, to); got < least || got > most {
			t.Errorf("%s, %d of 100 pings to %s are answered, want %d to %d", when, got, to, least, most)
		}
	}
	check("at first", a, b.IPv4, 95, 100)
	check("at first", a, b.IPv6, 95, 100)
	n.Cut(a, b)
	check("cut", a, b.IPv4, 0, 0)
	check("cut", b, a.IPv6, 0, 0)
	check("cut from another", a, c.IPv4, 95, 100)
	n.Lose(50, a, c)
	check("with 25 % left both ways", a, c.IPv4, 8, 45)
	check("still cut", a, b.IPv4, 0, 0)
	n.Heal(a, b)
	check("healed", a, b.IPv4, 95, 100)
	n.Isolate(c)
	check("isolated", c, a.IPv4, 0, 0)
	check("isolated", b, c.IPv6, 0, 0)
	check("isolated from itself", c, c.IPv4, 95, 100)
	n.Heal(n.Hosts...)
	check("all healed", c, a.IPv4, 95, 100)
}

// TestRemoved has nothing left when a test ends, and what a dead process left be
// swept.
func TestRemoved(t *testing.T) {
	list := func() string {
		out, err := exec.Command("ip", "netns", "list").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	mine := fmt.Sprintf("cluster-e2e-%d-", os.Getpid())
	t.Run("hosts", func(t *testing.T) {
		n := hosts.New(t, 2)
		if got := strings.Count(list(), mine); got != len(n.Hosts)+1 {
			t.Errorf("there are %d namespaces, want one a host and one for the bridge", got)
		}
		dead := exec.Command("true")
		if err := dead.Run(); err != nil {
			t.Fatal(err)
		}
		stale := fmt.Sprintf("cluster-e2e-%d-1-h1", dead.Process.Pid)
		if err := exec.Command("ip", "netns", "add", stale).Run(); err != nil {
			t.Fatal(err)
		}
		hosts.New(t, 1)
		if strings.Contains(list(), stale) {
			t.Errorf("%s of a dead process is not swept", stale)
		}
	})
	if left := list(); strings.Contains(left, mine) {
		t.Errorf("there are left:\n%s", left)
	}
}
