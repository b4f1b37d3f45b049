package mesh

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

// A Message is what a peer sent.
type Message struct {
	// From is the node that sent it.
	From transport.Node
	// Subject is what it was sent to.
	Subject string
	// Data belongs to the handler.
	Data []byte
}

// size is what a message counts in a queue: an empty one takes memory too.
func (msg *Message) size() int {
	const header = 64
	return header + len(msg.Data)
}

// A Handler takes the messages of one subject. It is called from a goroutine of
// the mesh's own, for one message at a time of each peer and subject, in the
// order in which that peer sent them; for several peers at once. A slow handler
// delays only its peer and subject; what doesn't fit into Config.ReceiveQueue
// meanwhile is dropped. It may call every method of the mesh. ctx is done when
// the mesh is closed. A panic is logged, and the next message is delivered.
type Handler func(ctx context.Context, msg Message)

// An inbox holds the messages of one peer that wait for their handlers.
type inbox struct {
	m    *Mesh
	from transport.Node

	mu     sync.Mutex
	queues map[string]*queue
}

type queue struct {
	messages []Message
	bytes    int
	running  bool
	dropped  int  // since the queue was last empty
	told     bool // that messages are dropped
}

// deliver is called by a link's reader: it neither blocks nor runs a handler.
func (in *inbox) deliver(subject, data []byte) {
	if !in.m.handlers.has(string(subject)) {
		if left, ok := in.m.refusals.due("unhandled", string(subject), time.Now()); ok {
			in.m.log.Warn("no handler for a message, dropping it", "subject", string(subject), "node", in.from, "repeated", left)
		}
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.queues[string(subject)]
	if q == nil {
		q = &queue{}
		if in.queues == nil {
			in.queues = map[string]*queue{}
		}
		in.queues[string(subject)] = q
	}
	msg := Message{From: in.from, Subject: string(subject), Data: data}
	if q.bytes > 0 && q.bytes+msg.size() > in.m.cfg.ReceiveQueue {
		if q.dropped++; q.dropped == 1 {
			in.tellSlow(string(subject), q)
		}
		in.m.dropped.Add(1)
		return
	}
	q.messages = append(q.messages, msg)
	q.bytes += msg.size()
	if !q.running {
		q.running = true
		in.m.handlers.start(func() { in.run(string(subject), q) })
	}
}

// tellSlow logs that a queue is full, unless it was just a while ago.
func (in *inbox) tellSlow(subject string, q *queue) {
	var left int
	if left, q.told = in.m.refusals.due("slow", subject+"\x00"+string(in.from), time.Now()); q.told {
		in.m.log.Warn("a handler is too slow, dropping messages", "subject", subject, "node", in.from, "queued_bytes", q.bytes, "repeated", left)
	}
}

// run hands messages over for as long as there are any.
func (in *inbox) run(subject string, q *queue) {
	for {
		msg, ok := in.next(subject, q)
		if !ok {
			return
		}
		in.m.handlers.call(in.m.ctx, msg, in.panicked)
	}
}

func (in *inbox) panicked(msg Message, r any) {
	if left, ok := in.m.refusals.due("panic", msg.Subject, time.Now()); ok {
		in.m.log.Error("a handler panicked", "subject", msg.Subject, "node", msg.From, "panic", r, "stack", string(debug.Stack()), "repeated", left)
	}
}

func (in *inbox) next(subject string, q *queue) (Message, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(q.messages) == 0 || in.m.ctx.Err() != nil {
		q.running = false
		delete(in.queues, subject)
		if q.told {
			in.m.log.Info("a handler has caught up", "subject", subject, "node", in.from, "dropped", q.dropped)
		}
		return Message{}, false
	}
	msg := q.messages[0]
	q.messages[0] = Message{}
	q.messages = q.messages[1:]
	q.bytes -= msg.size()
	return msg, true
}

// handlers are the user's funcs by subject, and the calls of them under way.
type handlers struct {
	mu    sync.RWMutex
	funcs map[string]Handler
	busy  map[string]int // calls under way, by name
	idle  signal.Signal  // rung when a worker ends
	count int            // workers
}

func (h *handlers) has(subject string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.funcs[subject] != nil
}

func (h *handlers) set(subject string, f Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f == nil {
		delete(h.funcs, subject)
		return
	}
	h.funcs[subject] = f
}

func (h *handlers) start(worker func()) {
	h.mu.Lock()
	h.count++
	h.mu.Unlock()
	go func() {
		defer func() {
			h.mu.Lock()
			h.count--
			h.mu.Unlock()
			h.idle.Ring()
		}()
		worker()
	}()
}

func (h *handlers) call(ctx context.Context, msg Message, panicked func(Message, any)) {
	defer h.enter(strconv.Quote(msg.Subject))()
	defer func() {
		if r := recover(); r != nil {
			panicked(msg, r)
		}
	}()
	h.mu.RLock()
	f := h.funcs[msg.Subject]
	h.mu.RUnlock()
	if f != nil {
		f(ctx, msg)
	}
}

// enter notes a call of user's code by name; the func that it returns, that it
// has ended.
func (h *handlers) enter(name string) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy[name]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.busy[name]--; h.busy[name] == 0 {
			delete(h.busy, name)
		}
	}
}

// ask calls one of Config's funcs, and waits for its answer or for the end of the
// mesh, for which such a func must not be waited without a bound: it may be the
// one that calls Close.
func ask[T any](m *Mesh, name string, f func() T) (answer T, err error) {
	answers := make(chan T, 1)
	m.handlers.start(func() {
		defer m.handlers.enter(name)()
		answers <- f()
	})
	select {
	case answer = <-answers:
		return answer, nil
	case <-m.ctx.Done():
		return answer, ErrClosed
	}
}

// wait returns once no code of the user's runs, or with what still does when ctx
// is done: handlers by subject, and Config's funcs by name.
func (h *handlers) wait(ctx context.Context) error {
	for {
		rung := h.idle.Wait()
		h.mu.RLock()
		count := h.count
		names := slices.Sorted(maps.Keys(h.busy))
		h.mu.RUnlock()
		if count == 0 {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			if len(names) == 0 {
				names = []string{"Config.Logger"}
			}
			return fmt.Errorf("%w: %s", ErrHandlerBusy, strings.Join(names, ", "))
		}
	}
}
