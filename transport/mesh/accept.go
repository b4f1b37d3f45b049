package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	defer func() {
		if m.waiting.leave(g) {
			m.lull.Ring()
		}
	}()
	ctx, cancel := context.WithTimeoutCause(m.ctx, m.cfg.HandshakeTimeout, ErrHandshakeTime)
	defer cancel()
	err := m.acceptInTurn(ctx, g)
	if err == nil {
		return
	}
	_ = g.conn.Close()
	if errors.Is(err, io.EOF) || m.ctx.Err() != nil {
		return // as a health check that only connects, or this node's own end
	}
	if left, ok := m.refusals.due(kindOf(err), g.place.String(), time.Now()); ok {
		m.log.Warn("refused a connection", "remote", g.ip, "error", err, "repeated", left)
	}
}

// acceptInTurn slows down those of whom many come.
func (m *Mesh) acceptInTurn(ctx context.Context, g *guest) error {
	if err := m.waiting.turn(ctx, g); err != nil {
		return fmt.Errorf("mesh: too many handshakes from %s: %w", g.place, err)
	}
	lift := bound(ctx, g.conn)
	defer lift()
	s, err := m.greetGuest(ctx, g)
	if err != nil {
		return err
	}
	if s.kind == kindStream {
		return m.acceptStream(ctx, s, lift)
	}
	l, h, err := m.acceptLink(ctx, s, lift)
	if err != nil {
		return err
	}
	l.unasked = true
	if refusal := m.admit(l, h); refusal != nil {
		m.turnAway(l, refusal)
	}
	return nil
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
