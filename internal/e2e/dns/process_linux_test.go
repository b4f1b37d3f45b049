package dns_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// dieWith has a process be killed when this one has ended, however that does:
// killed, or by a panic, it stops nothing itself.
func dieWith(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// TestKilled has no CoreDNS be left by a test that is killed.
func TestKilled(t *testing.T) {
	const killed = "CLUSTER_DNS_KILLED"
	if os.Getenv(killed) != "" { // this is the other process
		fmt.Print(serveZone(t, "").addr)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), killed+"=1", "TMPDIR="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	dieWith(cmd)
	err := cmd.Run()
	if _, bad := net.ResolveUDPAddr("udp", out.String()); bad != nil || cmd.ProcessState == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the test that was to be killed has said %q, and ended with %v", out.String(), err)
	}
	for began := time.Now(); ; { // until nobody has the address
		c, err := net.ListenPacket("udp", out.String())
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Since(began) > soon {
			t.Fatalf("CoreDNS is still there %s after the test that started it was killed: %v", soon, err)
		}
		wait := time.NewTimer(10 * time.Millisecond) // nothing tells when it has ended
		<-wait.C
	}
}
