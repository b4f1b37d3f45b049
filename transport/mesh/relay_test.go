package mesh

import (
	"net"
	"sync"
	"testing"
)

// A relay passes connections on, as a network would that can be slow or freeze.
type relay struct {
	listener net.Listener
	to       string
	before   func()         // called before each piece is passed on
	record   func(b []byte) // given what the dialler sends
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// startRelay runs a relay to an address until the test ends.
func startRelay(t *testing.T, to string, before func()) *relay {
	t.Helper()
	return startRecorder(t, to, before, nil)
}

// startRecorder runs a relay that shows what it passes on.
func startRecorder(t *testing.T, to string, before func(), record func([]byte)) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to, before: before, record: record}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		r.closed = true
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil || !r.keep(in, out) {
			_ = in.Close()
			continue
		}
		r.running.Go(func() { r.pass(in, out, r.record) })
		r.running.Go(func() { r.pass(out, in, nil) })
	}
}

// keep notes connections to close at the end; after that it closes out.
func (r *relay) keep(in, out net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = out.Close()
		return false
	}
	r.conns = append(r.conns, in, out)
	return true
}

func (r *relay) pass(from, to net.Conn, record func([]byte)) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if r.before != nil {
			r.before()
		}
		if record != nil {
			record(b[:n])
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// waitFor is for a relay that passes on what it has only while nobody holds the
// lock.
func waitFor(frozen *sync.RWMutex) func() {
	return func() {
		frozen.RLock()
		defer frozen.RUnlock()
	}
}
