package mesh

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster/transport"
)

// Send queues a message for a node, which gets it at most once and after those
// that were sent to it before on the same subject. It waits while the node's
// queue is full, until ctx is done. data may be used again when it returns. A
// name that stands for several linked nodes means the first in order.
//
// Its error is a [NodeError] with [ErrClosed], [ErrNoNode], [ErrDown], [ErrTooLarge],
// [ErrSubject], or [ErrQueueFull] and ctx's cause.
func (m *Mesh) Send(ctx context.Context, n transport.Node, subject string, data []byte) error {
	err := m.checkMessage(subject, data)
	if err == nil {
		m.mu.Lock()
		found, closed := m.find(n), m.closed
		m.mu.Unlock()
		switch {
		case closed:
			err = ErrClosed
		case len(found) == 0:
			err = ErrNoNode
		default:
			err = m.sendTo(ctx, found[0], subject, data)
		}
	}
	if err != nil {
		return &NodeError{Op: "send", Node: n, Err: err}
	}
	return nil
}

// Broadcast sends a message to every peer that is up, side by side, so that a
// slow one delays none of the others. It returns when all have it queued or
// failed; the error joins a [NodeError] for each that did, or is [ErrClosed].
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
	errs := make(chan error, len(peers))
	for _, p := range peers {
		go func() {
			err := m.sendTo(ctx, p, subject, data)
			if err != nil {
				err = &NodeError{Op: "send", Node: p.hello.node, Err: err}
			}
			errs <- err
		}()
	}
	var all []error
	for range peers {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
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

// sendTo queues on whichever link the peer has now.
func (m *Mesh) sendTo(ctx context.Context, p *peer, subject string, data []byte) error {
	for {
		changed := m.changed.Wait()
		m.mu.Lock()
		l, up := p.active, p.up
		m.mu.Unlock()
		if !up {
			return ErrDown
		}
		var room <-chan struct{}
		if l != nil {
			wait, err := l.out.send(subject, data)
			if err == nil && wait == nil {
				return nil
			}
			room = wait
		}
		select {
		case <-room:
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
		}
	}
}
