package mesh

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster/transport"
)

// Send sends a message to a node, which gets it at most once and after those that
// were sent to it before on the same subject. It returns once the message is
// queued, or, if it has more than about 64 KiB, once the last of its parts is; until
// then it waits, while the queue is full or parts of others go first, until ctx is
// done. data may be used again when it returns. A name that stands for several
// linked nodes means the first in order.
//
// Its error is a [NodeError] with [ErrClosed], [ErrNoNode], [transport.ErrSelf],
// [ErrDown] (with ErrNoNode, if it was so before), [ErrTooLarge], [ErrSubject],
// [ErrQueueFull] and ctx's cause, or, if ctx was done before, its cause alone.
func (m *Mesh) Send(ctx context.Context, n transport.Node, subject string, data []byte) error {
	err := m.checkMessage(subject, data)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		var r route
		if r, err = m.route(n); err == nil {
			l := letter{t: frameMessage, subject: subject, data: data}
			err = m.sendOn(ctx, r, &l)
		}
	}
	if err != nil {
		return &NodeError{Op: "send", Node: n, Err: err}
	}
	return nil
}

// Broadcast sends a message to every peer that is up, side by side, so that a
// slow one delays none of the others. It returns when all have it queued or
// failed; the error joins a [NodeError] for each that did, or is [ErrClosed],
// [ErrTooLarge] or [ErrSubject].
func (m *Mesh) Broadcast(ctx context.Context, subject string, data []byte) error {
	if err := m.checkMessage(subject, data); err != nil {
		return err
	}
	m.mu.Lock()
	var peers []*peer
	for _, p := range m.peers {
		if p.up {
			peers = append(peers, p)
		}
	}
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return ErrClosed
	}
	l := letter{t: frameMessage, subject: subject, data: data}
	errs := make(chan error, len(peers))
	waiting := 0
	for _, p := range peers {
		if m.queueFor(p, &l) {
			continue
		}
		waiting++
		go func() {
			err := m.sendTo(ctx, p, &l, false)
			if err != nil {
				err = &NodeError{Op: "send", Node: p.hello.node, Err: err}
			}
			errs <- err
		}()
	}
	var all []error
	for range waiting {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// queueFor queues a letter that isn't large if there is room now.
func (m *Mesh) queueFor(p *peer, l *letter) bool {
	lk, _ := m.linkOf(p)
	if lk == nil || l.large() {
		return false
	}
	wait, err := lk.out.send(l, false)
	return wait == nil && err == nil
}

func (m *Mesh) checkMessage(subject string, data []byte) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	if len(data) > m.cfg.MaxMessage {
		return fmt.Errorf("%w: %d bytes; Config.MaxMessage is %d", ErrTooLarge, len(data), m.cfg.MaxMessage)
	}
	return nil
}

// sendOn sends on the link that a peer has just had, or on whichever it has next.
func (m *Mesh) sendOn(ctx context.Context, r route, l *letter) error {
	if r.link != nil && !l.large() {
		if room, err := r.link.out.send(l, true); err == nil && room == nil {
			return nil
		}
	}
	return m.sendTo(ctx, r.peer, l, true)
}

// linkOf returns the link on which a peer is sent to; nil if there is none just
// now.
func (m *Mesh) linkOf(p *peer) (l *link, up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return p.active, p.up
}

// sendTo queues on whichever link the peer has now. An eager sender writes by
// itself if it can do so without waiting.
func (m *Mesh) sendTo(ctx context.Context, p *peer, l *letter, eager bool) error {
	var changed <-chan struct{} // nil at first: mostly there is no need to wait for it
	for {
		lk, up := m.linkOf(p)
		if !up {
			return ErrDown
		}
		var room <-chan struct{}
		if lk != nil {
			var err error
			if l.large() {
				err = lk.sendLarge(ctx, l)
			} else {
				room, err = lk.out.send(l, eager)
			}
			switch {
			case err == nil && room == nil:
				return nil
			case errors.Is(err, ErrQueueFull):
				return err
			}
		}
		if changed == nil {
			changed = m.changed.Wait() // before looking again
			continue
		}
		select {
		case <-room:
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
		}
		changed = nil
	}
}

// sendLarge returns when all parts are queued, or with ErrQueueFull and ctx's
// cause; any other error is about the link alone.
func (l *link) sendLarge(ctx context.Context, letter *letter) error {
	t, err := l.out.begin(letter)
	if err != nil {
		return err
	}
	select {
	case err = <-t.done:
		return err
	case <-ctx.Done():
	}
	if l.out.giveUp(t) {
		return fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
	}
	return <-t.done
}
