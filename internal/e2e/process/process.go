//go:build linux

package process

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

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
)

// stopWithin is how long a process may take to end when it is told to.
const stopWithin = 10 * time.Second

// A Process runs on one of the hosts, and reports an R whenever that has changed.
type Process[R any] struct {
	tb      testing.TB
	name    string
	cmd     *exec.Cmd
	stdin   io.Closer
	log     bytes.Buffer // what it wrote to standard error, once it has ended
	readers sync.WaitGroup
	ended   bool

	mu     sync.Mutex
	latest R
	more   chan struct{} // closed at the next report
}

// Start starts one on a host, with what Main passes on, and with more variables of
// the environment ("NAME=value"). It is stopped when the test ends, and what it has
// logged is shown, under the name, if that has failed.
func Start[R any](tb testing.TB, h *hosts.Host, name string, config any, env ...string) *Process[R] {
	tb.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Process[R]{tb: tb, name: name, more: make(chan struct{})}
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
			tb.Logf("%s has logged:\n%s", p.name, p.log.String())
		}
	})
	return p
}

// take takes a line of the process's.
func (p *Process[R]) take(line []byte) {
	var r R
	if err := json.Unmarshal(line, &r); err != nil {
		p.tb.Errorf("%s says %q: %v", p.name, line, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = r
	close(p.more)
	p.more = make(chan struct{})
}

// Report returns the latest, the zero value before the first, and what is closed at
// the next.
func (p *Process[R]) Report() (R, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest, p.more
}

// Await waits until a report is as it should be, and fails the test if none is by
// the deadline.
func (p *Process[R]) Await(deadline time.Time, what string, met func(R) bool) {
	p.tb.Helper()
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	for {
		r, more := p.Report()
		if met(r) {
			return
		}
		select {
		case <-more:
		case <-late.C:
			p.tb.Fatalf("%s reports %+v; want %s", p.name, r, what)
		}
	}
}

// Stop has the process end in good order, and returns when it has ended. It may be
// called again, and after Kill.
func (p *Process[R]) Stop() {
	p.tb.Helper()
	if p.ended {
		return
	}
	_ = p.stdin.Close()
	kill := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.wait(); err != nil {
		p.tb.Errorf("%s: %v", p.name, err)
	}
}

// Kill ends the process at once: it says nothing more.
func (p *Process[R]) Kill() {
	if p.ended {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.wait() // it was killed
}

func (p *Process[R]) wait() error {
	p.ended = true
	p.readers.Wait()
	return p.cmd.Wait()
}
