//go:build unix

package mesh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

// nodeEnv makes the test binary a node: it says its address, reads those of
// the others, links with them, and says what its peers do.
const nodeEnv = "MESH_TEST_NODE"

func init() { //nolint:gochecknoinits // the tests' own children
	if os.Getenv(nodeEnv) != "" {
		runNode()
		os.Exit(0)
	}
}

func runNode() {
	cfg := Config{Secrets: []string{testSecret}, Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	if testScale() > 1 {
		cfg.Heartbeat, cfg.DownAfter = defaultHeartbeat/shortScale, defaultDownAfter/shortScale
	}
	m, err := Listen(cfg)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	defer m.Close()
	events := m.Events(context.Background())
	fmt.Println("self", m.Self())
	go func() {
		for e := range events {
			switch e := e.(type) {
			case PeerUp:
				fmt.Println("up", e.Peer.Node)
			case PeerDown:
				fmt.Println("down", e.Peer.Node, e.Reason)
			}
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); { // until the test ends
		go func(n transport.Node) {
			for m.Connect(context.Background(), n) != nil {
				time.Sleep(10 * time.Millisecond)
			}
		}(transport.Node(in.Text()))
	}
}

// shortScale is by how much -short shortens what takes real time.
const shortScale = 10

const scaleEnv = "MESH_TEST_SHORT"

func testScale() time.Duration {
	if os.Getenv(scaleEnv) != "" || testing.Testing() && testing.Short() {
		return shortScale
	}
	return 1
}

// A child is a node in a process of its own.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	node string

	mu    sync.Mutex
	lines []string
	said  signal.Signal
}

func startChild(t *testing.T) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), nodeEnv+"=1")
	if testing.Short() {
		c.cmd.Env = append(c.cmd.Env, scaleEnv+"=1")
	}
	c.in, _ = c.cmd.StdinPipe()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, s.Text())
			c.mu.Unlock()
			c.said.Ring()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait()
	})
	c.waitFor(t, "says its address", func(lines []string) bool { return len(lines) > 0 })
	c.node = strings.TrimPrefix(c.lines[0], "self ")
	return c
}

func (c *child) waitFor(t *testing.T, what string, ok func(lines []string) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		said := c.said.Wait()
		c.mu.Lock()
		done := ok(c.lines)
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-said:
		case <-late:
			t.Fatalf("not in %s: %s %s; it said %q", patience, c.node, what, c.lines)
		}
	}
}

// count counts the lines that begin so.
func count(lines []string, prefix string) (n int) {
	for _, l := range lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (c *child) downs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var downs []string
	for _, l := range c.lines {
		if strings.HasPrefix(l, "down ") {
			downs = append(downs, l)
		}
	}
	return downs
}

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
// lost. For 30: the others drop it, and when it wakes it blames nobody.
func TestFrozenNode(t *testing.T) {
	t.Parallel()
	const n = 20
	children := make([]*child, n)
	for i := range children {
		children[i] = startChild(t)
	}
	for _, c := range children {
		for _, o := range children {
			if o != c {
				fmt.Fprintln(c.in, o.node)
			}
		}
	}
	for _, c := range children {
		c.waitFor(t, "sees all others", func(lines []string) bool { return count(lines, "up ") == n-1 })
	}
	frozen, others := children[0], children[1:]

	frozen.freeze(t, 4*time.Second/testScale())
	time.Sleep(time.Second / testScale()) // in which a wrong judgement would fall
	for _, c := range children {
		if d := c.downs(); len(d) > 0 {
			t.Fatalf("%s after 4 seconds: %q", c.node, d)
		}
	}

	frozen.freeze(t, 30*time.Second/testScale())
	for _, c := range others {
		c.waitFor(t, "drops the frozen one", func([]string) bool { return len(c.downs()) == 1 })
		if want, got := "down "+frozen.node+" silent", c.downs()[0]; got != want {
			t.Errorf("%s: %q, want %q", c.node, got, want)
		}
	}
	frozen.waitFor(t, "sees that it was dropped", func(lines []string) bool { return count(lines, "down ") == n-1 })
	for _, d := range frozen.downs() {
		if strings.HasSuffix(d, "silent") {
			t.Errorf("it blames another for its own sleep: %q", d)
		}
	}
}
