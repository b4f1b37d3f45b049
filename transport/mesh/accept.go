package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// acceptAll runs until the listener is closed. It outlasts whatever else Accept
// returns, such as too many open files.
func (m *Mesh) acceptAll() {
	pause := acceptPauseMin
	for {
		conn, err := m.listener.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			if g := m.waiting.enter(conn); g != nil {
				m.changed.Ring()
				m.run(func() { m.accept(g) })
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			if left, ok := m.refusals.due("accept", err.Error(), time.Now()); ok {
				m.log.Warn("accepting failed, trying on", "error", err, "repeated", left)
			}
			select {
			case <-m.ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

func (m *Mesh) accept(g *guest) {
	defer m.waiting.leave(g)
	defer m.changed.Ring()
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.HandshakeTimeout)
	defer cancel()
	l, h, err := m.acceptLink(ctx, g)
	if err == nil {
		if !m.admit(l, h) {
			m.abandon(l)
		}
		return
	}
	_ = g.conn.Close()
	if errors.Is(err, io.EOF) || m.ctx.Err() != nil {
		return // as a health check that only connects, or this node's own end
	}
	if left, ok := m.refusals.due(kindOf(err), g.ip.String(), time.Now()); ok {
		m.log.Warn("refused a connection", "remote", g.ip, "error", err, "repeated", left)
	}
}

// kindOf tells refusals apart of which each is worth a line.
func kindOf(err error) string {
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		return refusal.Code.String()
	}
	if errors.Is(err, ErrProof) {
		return "proof"
	}
	return "protocol"
}

// A guest is a connection that was accepted and hasn't proved itself.
type guest struct {
	conn net.Conn
	ip   netip.Addr
}

// A waitingRoom bounds the guests: when it is full, the oldest of the address
// that has most of them goes, so that a flood from one place locks nobody else
// out.
type waitingRoom struct {
	limit int

	mu     sync.Mutex
	closed bool
	guests []*guest // the oldest first
	counts map[netip.Addr]int
}

// enter returns nil, and closes conn, when the room is closed.
func (w *waitingRoom) enter(conn net.Conn) *guest {
	g := &guest{conn: conn}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		g.ip = a.AddrPort().Addr().Unmap()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close()
		return nil
	}
	if w.counts == nil {
		w.counts = map[netip.Addr]int{}
	}
	w.guests = append(w.guests, g)
	w.counts[g.ip]++
	if len(w.guests) > w.limit {
		w.remove(w.busiest())
	}
	return g
}

// busiest is the oldest guest of the address with the most.
func (w *waitingRoom) busiest() *guest {
	var worst *guest
	for _, g := range w.guests {
		if worst == nil || w.counts[g.ip] > w.counts[worst.ip] {
			worst = g
		}
	}
	return worst
}

// remove closes a guest's connection, which ends its handshake.
func (w *waitingRoom) remove(g *guest) {
	_ = g.conn.Close()
	w.forget(g)
}

func (w *waitingRoom) forget(g *guest) {
	for i, other := range w.guests {
		if other == g {
			w.guests = append(w.guests[:i], w.guests[i+1:]...)
			if w.counts[g.ip]--; w.counts[g.ip] == 0 {
				delete(w.counts, g.ip)
			}
			return
		}
	}
}

// leave takes a guest out whose handshake is over, well or not.
func (w *waitingRoom) leave(g *guest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(g)
}

// from reports whether a guest from that address is there.
func (w *waitingRoom) from(ip netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[ip] > 0
}

func (w *waitingRoom) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for len(w.guests) > 0 {
		w.remove(w.guests[0])
	}
}
