// Package processes_test has meshes in processes of their own, and stops those.
// That takes its time, most of it waiting, and goes on beside other packages.
package processes_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
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
	"github.com/libcluster-go/cluster/transport/mesh"
)

// The tests that go side by side wait rather than work, so there are more of them
// than processors.
func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const (
	// heartbeat is the mesh's default.
	heartbeat = 5 * time.Second
	// patience bounds what has to happen; nothing waits for it to pass.
	patience = 30 * time.Second
	// shortScale is by how much -short shortens what takes real time.
	shortScale = 10
)

// scaled is a span of real time that a test is about.
func scaled(d time.Duration) time.Duration {
	if testing.Short() {
		return d / shortScale
	}
	return d
}

// childEnv makes the test binary a node: it says its address, reads those of
// the others, links with them, and says what its peers do. What it reads after
// "secrets" is its secrets from then on. Its value is what it does besides, and,
// after a space, its heartbeat if that isn't the default.
const (
	childEnv   = "PROCESSES_TEST_CHILD"
	childIdles = "idles" // but for what it is sent
	childPours = "pours" // bulk to every peer
	childTalks = "talks" // in all ways, and says what may not be

	secretsEnv = "PROCESSES_TEST_SECRETS" // separated as secrets that are read
	secretsSep = ","
)

// runChild reports whether this process is a child, which has ended then.
func runChild() bool {
	how, beat, _ := strings.Cut(os.Getenv(childEnv), " ")
	if how == "" {
		return false
	}
	cfg := config(strings.Split(os.Getenv(secretsEnv), secretsSep)...)
	if d, err := time.ParseDuration(beat); err == nil {
		setHeartbeat(&cfg, d)
	}
	m, err := mesh.Listen(cfg)
	if err == nil {
		err = behave(m, how)
	}
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
			case mesh.PeerUp:
				fmt.Println("up", e.Peer.Node)
			case mesh.PeerDown:
				fmt.Println("down", e.Peer.Node, e.Reason)
			}
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); { // until the test ends
		if secrets, ok := strings.CutPrefix(in.Text(), "secrets "); ok {
			fmt.Println("took", secrets, m.SetSecrets(strings.Split(secrets, secretsSep)))
			continue
		}
		go func(n transport.Node) {
			for m.Connect(context.Background(), n) != nil {
				time.Sleep(10 * time.Millisecond)
			}
		}(transport.Node(in.Text()))
	}
	return true
}

// behave has a child do what childEnv says.
func behave(m *mesh.Mesh, how string) error {
	switch how {
	case childTalks:
		t, err := newTalker(m)
		if err != nil {
			return err
		}
		go t.confess()
		t.talk()
		return nil
	case childPours:
		go func() {
			for e := range m.Events(context.Background()) {
				if up, ok := e.(mesh.PeerUp); ok {
					go pour(m, up.Peer.Node)
				}
			}
		}()
	}
	return takeBulk(m, func() {})
}

// bulkSize is the largest that a message may be.
const bulkSize = 16 << 20

// pour sends bulk to a node until it is gone.
func pour(m *mesh.Mesh, n transport.Node) error {
	data := make([]byte, bulkSize)
	for {
		if err := m.Send(context.Background(), n, "bulk", data); err != nil {
			return err
		}
	}
}

// takeBulk has a node call came for each message of bulk, and echo requests.
func takeBulk(m *mesh.Mesh, came func()) error {
	return errors.Join(
		m.Handle("bulk", func(context.Context, mesh.Message) { came() }),
		m.Respond("echo", func(_ context.Context, msg mesh.Message) ([]byte, error) { return msg.Data, nil }))
}

// confess prints what may not be, as long as the process lives.
func (t *talker) confess() {
	for err := range t.bad {
		fmt.Printf("bad %q\n", err)
	}
}

// theSecret is that of nodes whose secrets don't change.
const theSecret = "correct horse battery staple"

func config(secrets ...string) mesh.Config {
	return mesh.Config{
		Secrets: secrets, Bind: "127.0.0.1:0",
		Logger: slog.New(slog.DiscardHandler),
	}
}

// setHeartbeat keeps the ratio that is the default.
func setHeartbeat(cfg *mesh.Config, d time.Duration) { cfg.Heartbeat, cfg.DownAfter = d, 2*d }

// A child is a node in a process of its own.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	node string
	kill func() // and waits for its end

	mu    sync.Mutex
	lines []string
	said  signal.Signal
}

// startChild starts a node, which ends with the test. How it behaves, childEnv says.
func startChild(t *testing.T, how string, secrets ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+how, secretsEnv+"="+strings.Join(secrets, secretsSep))
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
	c.kill = sync.OnceFunc(func() {
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait()
	})
	t.Cleanup(c.kill)
	c.waitFor(t, "says its address", func(lines []string) bool { return len(lines) > 0 })
	c.node = strings.TrimPrefix(c.lines[0], "self ")
	return c
}

// setSecrets returns when the child has them.
func (c *child) setSecrets(secrets []string) error {
	said := strings.Join(secrets, secretsSep)
	if _, err := fmt.Fprintln(c.in, "secrets", said); err != nil {
		return err
	}
	return c.await("takes its secrets", func(lines []string) bool { return slices.Contains(lines, "took "+said+" <nil>") })
}

func (c *child) waitFor(t *testing.T, what string, ok func(lines []string) bool) {
	t.Helper()
	if err := c.await(what, ok); err != nil {
		t.Fatal(err)
	}
}

// await returns when ok with what the child has said.
func (c *child) await(what string, ok func(lines []string) bool) error {
	late := time.After(patience)
	for {
		said := c.said.Wait()
		c.mu.Lock()
		lines := slices.Clone(c.lines)
		c.mu.Unlock()
		if ok(lines) {
			return nil
		}
		select {
		case <-said:
		case <-late:
			return fmt.Errorf("not in %s: %s %s; it said %q", patience, c.node, what, lines)
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

// check fails the test if the child has said that something may not be. One that
// was killed may have been about to.
func (c *child) check(tb testing.TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, bad := range beginning(c.lines, "bad ") {
		tb.Errorf("%s, a child: %s", c.node, bad)
	}
}

// TestAChildSaysWhatMayNotBe: what a node answers wrongly, the process that asked
// it says.
func TestAChildSaysWhatMayNotBe(t *testing.T) {
	m, err := mesh.Listen(config(theSecret))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	wrong := func(context.Context, mesh.Message) ([]byte, error) { return []byte("something else"), nil }
	if err := m.Respond("echo", wrong); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, childTalks, theSecret)
	fmt.Fprintln(c.in, m.Self())
	c.waitFor(t, "says what may not be", func(lines []string) bool {
		return slices.ContainsFunc(beginning(lines, "bad "), func(l string) bool { return strings.Contains(l, errOther.Error()) })
	})
	c.kill()
	var seen failures
	if c.check(&seen); seen.n == 0 {
		t.Error("its check passes")
	}
}

// Failures counts what a check finds.
type failures struct {
	testing.TB

	n int
}

func (*failures) Helper()                 {}
func (f *failures) Errorf(string, ...any) { f.n++ }
