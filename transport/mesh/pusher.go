package mesh

import (
	"net"
	"sync"
	"sync/atomic"
)

// A pusher writes to a connection, and while it is eager never waits: what the
// system doesn't take at once stays behind, and goes before all that follows.
// So a sender may write in place of a writer's goroutine, and be sure that a
// peer that reads nothing doesn't keep it.
type pusher struct {
	conn  net.Conn
	push  func(b []byte) (n int, err error) // takes what goes at once; nil if there is no such way
	eager atomic.Bool

	mu   sync.Mutex // held while writing, so that bytes stay in order
	left []byte
}

// Write is called by [crypto/tls], for the mesh and for its own alerts.
func (p *pusher) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eager.Load() {
		n := 0
		if len(p.left) == 0 {
			var err error
			if n, err = p.push(b); err != nil {
				return n, err
			}
		}
		p.left = append(p.left, b[n:]...)
		return len(b), nil
	}
	if err := p.writeLeft(); err != nil {
		return 0, err
	}
	return p.conn.Write(b)
}

// flush writes what has stayed behind.
func (p *pusher) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writeLeft()
}

func (p *pusher) writeLeft() error {
	if len(p.left) == 0 {
		return nil
	}
	n, err := p.conn.Write(p.left)
	if p.left = p.left[n:]; len(p.left) == 0 {
		p.left = nil
	}
	return err
}

// hurry has what f writes go without waiting. It reports whether some has stayed
// behind.
func (p *pusher) hurry(f func() error) (left bool, err error) {
	p.eager.Store(true)
	err = f()
	p.eager.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.left) > 0, err
}
