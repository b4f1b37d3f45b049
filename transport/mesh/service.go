package mesh

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// streamBacklog is how many streams may wait for an Accept of their service.
const streamBacklog = 128

// ListenService accepts the streams that other nodes [Mesh.Dial] to a service,
// until the listener or the mesh is closed. At most 128 wait to be accepted. It
// fails with [ErrServiceTaken] if somebody listens for that service here, with
// [ErrSubject] if the name isn't 1 to 255 bytes, and with [ErrClosed].
func (m *Mesh) ListenService(service string) (net.Listener, error) {
	if err := checkSubject(service); err != nil {
		return nil, err
	}
	l := &serviceListener{m: m, service: service, conns: make(chan net.Conn, streamBacklog), done: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, ErrClosed
	case m.services[service] != nil:
		return nil, fmt.Errorf("%w: %s", ErrServiceTaken, strconv.Quote(service))
	}
	m.services[service] = l
	return l, nil
}

type serviceListener struct {
	m       *Mesh
	service string
	conns   chan net.Conn
	done    chan struct{}

	mu      sync.Mutex
	closed  bool
	waiting int // for Accept, or about to
}

// Accept returns the next stream. After Close it fails with [net.ErrClosed].
func (l *serviceListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case c := <-l.conns:
			l.giveBack()
			return c, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "mesh", Addr: l.Addr(), Err: net.ErrClosed}
}

// Addr returns this node.
func (l *serviceListener) Addr() net.Addr { return NodeAddr{l.m.self.node} }

// Close closes the streams that wait to be accepted, too.
func (l *serviceListener) Close() error {
	l.m.mu.Lock()
	if l.m.services[l.service] == l {
		delete(l.m.services, l.service)
	}
	l.m.mu.Unlock()
	if !l.end() {
		return &net.OpError{Op: "close", Net: "mesh", Addr: l.Addr(), Err: net.ErrClosed}
	}
	for {
		select {
		case c := <-l.conns:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// end lets nothing more in. It reports false if that was so before.
func (l *serviceListener) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.closed = true
	close(l.done)
	return true
}

// reserve takes a place in the queue, which has room for as many.
func (l *serviceListener) reserve() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.waiting >= streamBacklog {
		return false
	}
	l.waiting++
	return true
}

func (l *serviceListener) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// deliver queues a stream for which a place was reserved.
func (l *serviceListener) deliver(c net.Conn) {
	if !l.queue(c) {
		_ = c.Close()
	}
}

func (l *serviceListener) queue(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns <- c
	}
	return !l.closed
}
