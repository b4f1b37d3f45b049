//go:build linux

package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/e2e/hosts"
)

// stopWithin is how long a node may take to end when it is told to.
const stopWithin = 10 * time.Second

// A Process is a node on one of the hosts. Its methods are called from one
// goroutine at a time.
type Process struct {
	Node cluster.Node

	tb      testing.TB
	cmd     *exec.Cmd
	stdin   io.Closer
	log     bytes.Buffer // what it wrote to standard error, once it has ended
	readers sync.WaitGroup
	ended   bool

	mu     sync.Mutex
	latest Report
	more   chan struct{} // closed at the next report
}

// Start starts a node on a host, with more variables of the environment. It is
// stopped when the test ends, and what it has logged is shown if that has failed.
func Start(tb testing.TB, h *hosts.Host, cfg Config, env ...string) *Process {
	tb.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Process{Node: cluster.Node(cfg.Bind), tb: tb, more: make(chan struct{})}
	p.cmd = h.Command(context.Background(), self)
	p.cmd.Env = slices.Concat(os.Environ(), env, []string{variable + "=" + string(text), "GORACE=atexit_sleep_ms=0"})
	p.cmd.Stderr = &p.log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.readers.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.take(s.Bytes())
		}
	})
	tb.Cleanup(func() {
		p.Stop()
		if tb.Failed() {
			tb.Logf("%s has logged:\n%s", p.Node, p.log.String())
		}
	})
	return p
}

// take takes a line of the node's.
func (p *Process) take(line []byte) {
	var r Report
	if err := json.Unmarshal(line, &r); err != nil {
		p.tb.Errorf("%s says %q: %v", p.Node, line, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = r
	close(p.more)
	p.more = make(chan struct{})
}

// Report returns the latest.
func (p *Process) Report() Report {
	r, _ := p.next()
	return r
}

// next returns the latest, and what is closed at the next.
func (p *Process) next() (Report, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest, p.more
}

// Await waits until a report is as it should be, and fails the test if none is
// within a time.
func (p *Process) Await(within time.Duration, what string, met func(Report) bool) {
	p.tb.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		r, more := p.next()
		if met(r) {
			return
		}
		select {
		case <-more:
		case <-late.C:
			p.tb.Fatalf("after %s, %s reports %+v; want %s", within, p.Node, r, what)
		}
	}
}

// Stop has the node leave, and returns when it has ended. It may be called again,
// and after Kill.
func (p *Process) Stop() {
	p.tb.Helper()
	if p.ended {
		return
	}
	_ = p.stdin.Close()
	kill := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.wait(); err != nil {
		p.tb.Errorf("%s: %v", p.Node, err)
	}
}

// Kill ends the node at once: it says nothing more.
func (p *Process) Kill() {
	if p.ended {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.wait() // it was killed
}

func (p *Process) wait() error {
	p.ended = true
	p.readers.Wait()
	return p.cmd.Wait()
}
