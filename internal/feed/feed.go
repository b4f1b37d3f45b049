// Package feed hands a stream of events to several subscribers, each of which
// reads at its own pace from a bounded queue.
//
//	hub := feed.New(64, snapshot, lagged)
//	for e := range hub.Subscribe(ctx) { … }
//
// # Concurrency
//
// All methods may be called from any goroutine and none waits for a reader. A
// subscriber sees a snapshot first and then every event in order; one that is
// too slow loses what is queued for it, is told how much that was, and begins
// again with a snapshot.
package feed

import (
	"context"
	"sync"
)

// A Hub is where events are published. Make one with [New].
type Hub[E any] struct {
	size     int
	snapshot func() E
	lagged   func(dropped int) E

	mu     sync.Mutex
	subs   map[*subscriber[E]]struct{}
	closed bool
}

type subscriber[E any] struct {
	queue  chan E
	cancel func() bool // takes back the watch on the subscriber's context
	since  int         // events queued since the latest snapshot
	lost   int         // what was told right before that
}

// New returns a hub whose subscribers' queues hold size events beside the
// snapshot. snapshot makes the event that a subscriber begins with, lagged
// the one that tells how many events were dropped since the last such one that
// was read. Both are called under the hub's
// lock, so they must be short and must not call the hub.
func New[E any](size int, snapshot func() E, lagged func(dropped int) E) *Hub[E] {
	return &Hub[E]{size: size, snapshot: snapshot, lagged: lagged, subs: map[*subscriber[E]]struct{}{}}
}

// Publish calls update, which may be nil and changes what snapshot reads, and
// queues the events for every subscriber, as one step. After Close it only
// calls update.
func (h *Hub[E]) Publish(update func(), events ...E) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if update != nil {
		update()
	}
	for s := range h.subs {
		h.push(s, events)
	}
}

// push queues events, or what tells that they didn't fit. Only the hub sends,
// under its lock, so room that is there stays there.
func (h *Hub[E]) push(s *subscriber[E], events []E) {
	if cap(s.queue)-len(s.queue) >= len(events) {
		for _, e := range events {
			s.queue <- e
		}
		s.since += len(events)
		return
	}
	unread := s.drain()
	dropped := len(events) + min(unread, s.since)
	if unread > s.since+1 { // so is what was told of earlier ones, before the snapshot
		dropped += s.lost
	}
	s.lost, s.since = dropped, 0
	s.queue <- h.lagged(dropped)
	s.queue <- h.snapshot() // holds what events have changed
}

// drain empties the queue, and returns how much was in it.
func (s *subscriber[E]) drain() (unread int) {
	for {
		select {
		case <-s.queue:
			unread++
		default:
			return unread
		}
	}
}

// Subscribe returns a channel of the snapshot and all that follows. It is
// closed when ctx is done or the hub is closed; what is queued can still be
// read then.
func (h *Hub[E]) Subscribe(ctx context.Context) <-chan E {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &subscriber[E]{queue: make(chan E, h.size+2)} // and what a lagging one gets
	s.queue <- h.snapshot()
	if h.closed {
		close(s.queue)
		return s.queue
	}
	h.subs[s] = struct{}{}
	s.cancel = context.AfterFunc(ctx, func() { h.drop(s) })
	return s.queue
}

func (h *Hub[E]) drop(s *subscriber[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.queue)
	}
}

// Close ends every subscription. It may be called again.
func (h *Hub[E]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		s.cancel()
		delete(h.subs, s)
		close(s.queue)
	}
}
