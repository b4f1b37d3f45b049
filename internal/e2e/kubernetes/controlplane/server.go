//go:build linux

package controlplane

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
)

// shown is how much of the end of a log is shown when the test has failed.
const shown = 4 << 10

// A server is a program on a host that can be stopped and started again.
type server struct {
	tb      testing.TB
	host    *hosts.Host
	program string
	args    []string

	cmd    *exec.Cmd     // nil while it is stopped
	exited chan struct{} // is closed when cmd has ended
	log    tail
}

// newServer is stopped when the test ends. Its log is shown if that has failed.
func newServer(tb testing.TB, h *hosts.Host, program string, args ...string) *server {
	tb.Helper()
	s := &server{tb: tb, host: h, program: program, args: args}
	tb.Cleanup(func() {
		s.stop()
		if tb.Failed() {
			tb.Logf("the last that %s has logged:\n%s", filepath.Base(program), s.log.String())
		}
	})
	return s
}

// start starts it, and doesn't wait for it to serve.
func (s *server) start() {
	s.tb.Helper()
	cmd, exited := s.host.Command(context.Background(), s.program, s.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.cmd, s.exited = cmd, exited
	go func() { // until stop
		_ = cmd.Wait()
		close(exited)
	}()
}

// stop kills it, like a machine that is gone: in order, it would take up to a minute
// to end, for the sake of those who watch.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// A tail is the end of what was written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - shown; over > shown {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.text[max(0, len(t.text)-shown):]), "")
}
