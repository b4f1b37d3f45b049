//go:build unix

package processes_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freeze stops the process for a while of real time, which is what is tested.
func (c *child) freeze(t *testing.T, d time.Duration) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestFrozenNode: one of twenty processes is stopped. For 4 seconds: no link is
// lost. For 30: the others drop it, and when it wakes it blames nobody, and they
// have it back.
func TestFrozenNode(t *testing.T) {
	t.Parallel()
	const n = 20
	children := make([]*child, n)
	for i := range children {
		children[i] = startChild(t, childIdles+" "+scaled(heartbeat).String(), theSecret)
	}
	for _, c := range children {
		for _, o := range children {
			if o != c {
				fmt.Fprintln(c.in, o.node)
			}
		}
	}
	for _, c := range children {
		c.waitFor(t, "sees all others", func(lines []string) bool { return len(beginning(lines, "up ")) == n-1 })
	}
	frozen, others := children[0], children[1:]

	frozen.freeze(t, scaled(4*time.Second))
	time.Sleep(scaled(time.Second)) // in which a wrong judgement would fall
	for _, c := range children {
		if d := c.downs(); len(d) > 0 {
			t.Fatalf("%s after 4 seconds: %q", c.node, d)
		}
	}

	frozen.freeze(t, scaled(30*time.Second))
	for _, c := range others {
		c.waitFor(t, "drops the frozen one", func(lines []string) bool { return len(beginning(lines, "down ")) == 1 })
		if want, got := "down "+frozen.node+" silent", c.downs()[0]; got != want {
			t.Errorf("%s: %q, want %q", c.node, got, want)
		}
	}
	for _, c := range others {
		c.waitFor(t, "has it back", func(lines []string) bool { return len(beginning(lines, "up "+frozen.node)) == 2 })
	}
	for _, d := range frozen.downs() {
		if strings.HasSuffix(d, "silent") {
			t.Errorf("it blames another for its own sleep: %q", d)
		}
	}
}
