package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	dropped  int // since the queue was last empty
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
			in.m.log.Warn("a handler is too slow, dropping messages", "subject", string(subject), "node", in.from, "queued_bytes", q.bytes)
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

// run hands messages over for as long as there are any.
func (in *inbox) run(subject string, q *queue) {
	for {
		msg, ok := in.next(subject, q)
		if !ok {
			return
		}
		in.m.handlers.call(in.m.ctx, in.m.log, msg)
	}
}

func (in *inbox) next(subject string, q *queue) (Message, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(q.messages) == 0 || in.m.ctx.Err() != nil {
		q.running = false
		delete(in.queues, subject)
		if q.dropped > 0 {
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
	busy  map[string]int // calls under way, by subject
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

func (h *handlers) call(ctx context.Context, log *slog.Logger, msg Message) {
	h.mu.Lock()
	f := h.funcs[msg.Subject]
	h.busy[msg.Subject]++
	h.mu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			log.Error("a handler panicked", "subject", msg.Subject, "node", msg.From, "panic", r, "stack", string(debug.Stack()))
		}
		h.mu.Lock()
		if h.busy[msg.Subject]--; h.busy[msg.Subject] == 0 {
			delete(h.busy, msg.Subject)
		}
		h.mu.Unlock()
	}()
	if f != nil {
		f(ctx, msg)
	}
}

// wait returns once no handler runs, or with the subjects that still do when
// ctx is done.
func (h *handlers) wait(ctx context.Context) error {
	for {
		rung := h.idle.Wait()
		h.mu.RLock()
		count := h.count
		var subjects []string
		for s := range h.busy {
			subjects = append(subjects, s)
		}
		h.mu.RUnlock()
		if count == 0 {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			if len(subjects) == 0 {
				return fmt.Errorf("%w: the logger's", ErrHandlerBusy)
			}
			return fmt.Errorf("%w: subjects %q", ErrHandlerBusy, subjects)
		}
	}
}
