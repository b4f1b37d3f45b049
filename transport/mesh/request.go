package mesh

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/libcluster-go/cluster/transport"
)

// Request sends a request to a node and waits for the reply of its [Responder] of
// that subject, until ctx is done; a reply that comes later is dropped. It is
// handled at most once, and in no certain order with others and with messages.
// data may be used again when Request returns. A name that stands for several
// linked nodes means the first in order.
//
// Its error is a [NodeError] with
//   - [ErrClosed], [ErrNoNode] (with [ErrDown], if that node was linked before),
//     [transport.ErrSelf], [ErrSubject], or [ErrTooLarge]: it wasn't sent;
//   - [ErrQueueFull] and ctx's cause: it wasn't sent, as the node takes too little;
//   - ctx's cause alone: no reply came in time;
//   - [ErrDown]: a link broke with it, or the node went down. It may have been handled;
//   - [ErrNoHandler], [ErrOverloaded], [ErrPanicked]: what that node says;
//   - [ErrTooLarge], too, if the reply is larger than that node's Config.MaxMessage;
//   - a [RemoteError]: the responder's own error.
func (m *Mesh) Request(ctx context.Context, n transport.Node, subject string, data []byte) ([]byte, error) {
	reply, err := m.request(ctx, n, subject, data)
	if err != nil {
		return nil, &NodeError{Op: "request", Node: n, Err: err}
	}
	return reply, nil
}

func (m *Mesh) request(ctx context.Context, n transport.Node, subject string, data []byte) ([]byte, error) {
	if err := m.checkMessage(subject, data); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r, err := m.route(n)
	if err != nil {
		return nil, err
	}
	id, answer, err := r.peer.calls.begin()
	if err != nil {
		return nil, err
	}
	defer r.peer.calls.forget(id)
	l := letter{t: frameRequest, id: id, subject: subject, data: data}
	if err := m.sendOn(ctx, r, &l); err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		return a.data, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// calls are the requests to one peer whose replies are awaited.
type calls struct {
	mu     sync.Mutex
	last   uint64 // the latest ID
	open   map[uint64]chan<- answer
	closed error // why there can be no more
}

// An answer is what a request comes to.
type answer struct {
	data []byte
	err  error
}

func (c *calls) begin() (id uint64, ch <-chan answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return 0, nil, c.closed
	}
	if c.open == nil {
		c.open = map[uint64]chan<- answer{}
	}
	one := make(chan answer, 1)
	c.last++
	c.open[c.last] = one
	return c.last, one, nil
}

func (c *calls) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, id)
}

// answer ends a request, if it still waits.
func (c *calls) answer(id uint64, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.open[id]; ch != nil {
		delete(c.open, id)
		ch <- a // has room for the one
	}
}

// fail ends all that wait, since a link that carried them has broken. If it is
// for good, there are no more either.
func (c *calls) fail(err error, forGood bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, ch := range c.open {
		delete(c.open, id)
		ch <- answer{err: err}
	}
	if forGood {
		c.closed = err
	}
}

// replied takes a reply. It is called by a link's reader.
func (p *peer) replied(id uint64, s status, data []byte) {
	if err := s.err(data); err != nil {
		p.calls.answer(id, answer{err: err})
		return
	}
	p.calls.answer(id, answer{data: data})
}

// err is what a status means to who has asked.
func (s status) err(data []byte) error {
	switch s {
	case statusOK:
		return nil
	case statusError:
		text := data[:min(len(data), maxErrorText)]
		return &RemoteError{Text: string(bytes.ToValidUTF8(text, []byte("?")))}
	case statusNoHandler:
		return ErrNoHandler
	case statusOverloaded:
		return ErrOverloaded
	case statusPanicked:
		return ErrPanicked
	case statusTooLarge:
		return fmt.Errorf("%w: the reply", ErrTooLarge)
	default: // of a newer node
		return &RemoteError{Text: fmt.Sprintf("status %d", s)}
	}
}
