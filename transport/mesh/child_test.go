package mesh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

// childEnv makes the test binary a node: it says its address, reads those of
// the others, links with them, and says what its peers do. Its value is the
// heartbeat.
const childEnv = "MESH_TEST_HEARTBEAT"

// runChild reports whether this process is a child, which has ended then.
func runChild() bool {
	heartbeat, err := time.ParseDuration(os.Getenv(childEnv))
	if err != nil {
		return false
	}
	m, err := Listen(Config{
		Secrets: []string{testSecret}, Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
		Heartbeat: heartbeat, DownAfter: 2 * heartbeat, // as by default
	})
	if err != nil {
		fmt.Println("error", err)
		return true
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
	return true
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
	c.cmd.Env = append(os.Environ(), childEnv+"="+scaled(defaultHeartbeat).String())
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

// beginning are the lines that begin so.
func beginning(lines []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, prefix) })
}

func (c *child) downs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return beginning(c.lines, "down ")
}
