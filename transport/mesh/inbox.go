package mesh

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

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

// An inbox holds the messages and the requests of one peer that wait for the
// user's code.
type inbox struct {
	m    *Mesh
	from transport.Node
	peer *peer // for the answers

	mu     sync.Mutex
	queues map[string]*queue // kept while there is a handler
	desks  map[string]*desk  // kept while there are requests
}

// keepItems is how many places for messages an idle queue keeps.
const keepItems = 16

type queue struct {
	subject string
	name    string
	work    func()
	bytes   atomic.Int64

	// The inbox's mu guards these.
	messages []item
	running  bool
	dropped  int  // since the queue was last empty
	told     bool // that messages are dropped
}

// An item is what waits for the user's code.
type item struct {
	Message
	id   uint64 // of a request
	held int    // bytes of the mesh's budget
}

// deliver is called by a link's reader: it neither blocks nor runs a handler.
// held is what the message has of the mesh's budget.
func (in *inbox) deliver(subject, data []byte, held int) {
	e := in.m.handlers.find(subject)
	if e == nil || e.handle == nil {
		in.m.large.give(held)
		if left, ok := in.m.refusals.due("unhandled", string(subject), time.Now()); ok {
			in.m.log.Warn("no handler for a message, dropping it", "subject", string(subject), "node", in.from, "repeated", left)
		}
		return
	}
	msg := item{Message: Message{From: in.from, Subject: e.subject, Data: data}, held: held}
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.queue(e)
	if waiting := int(q.bytes.Load()); waiting > 0 && waiting+msg.size() > in.m.cfg.ReceiveQueue {
		in.m.large.give(held)
		if q.dropped++; q.dropped == 1 {
			in.tellSlow(q)
		}
		in.m.dropped.Add(1)
		return
	}
	q.messages = append(q.messages, msg)
	q.bytes.Add(int64(msg.size()))
	if !q.running {
		q.running = true
		in.m.handlers.begin(q.name)
		go q.work()
	}
}

// queue finds a subject's queue. The caller holds mu.
func (in *inbox) queue(e *entry) *queue {
	q := in.queues[e.subject]
	if q == nil {
		q = &queue{subject: e.subject, name: e.name}
		q.work = func() {
			defer in.m.handlers.end(q.name)
			in.run(q)
		}
		if in.queues == nil {
			in.queues = map[string]*queue{}
		}
		in.queues[e.subject] = q
	}
	return q
}

// tellSlow logs that a queue is full, unless it was just a while ago.
func (in *inbox) tellSlow(q *queue) {
	var left int
	if left, q.told = in.m.refusals.due("slow", q.subject+"\x00"+string(in.from), time.Now()); q.told {
		in.m.log.Warn("a handler is too slow, dropping messages", "subject", q.subject, "node", in.from, "queued_bytes", q.bytes.Load(), "repeated", left)
	}
}

// run hands messages over for as long as there are any.
func (in *inbox) run(q *queue) {
	for batch := in.next(q, nil); len(batch) > 0; batch = in.next(q, batch) {
		for i := range batch {
			msg := batch[i]
			batch[i] = item{}
			q.bytes.Add(-int64(msg.size()))
			if in.m.ctx.Err() == nil {
				in.call(msg.Message)
			}
			in.m.large.give(msg.held)
		}
	}
}

// next takes all that waits, and leaves an empty slice in its place.
func (in *inbox) next(q *queue, empty []item) (batch []item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	batch, q.messages = q.messages, empty[:0]
	if len(batch) > 0 {
		return batch
	}
	q.running = false
	if q.told {
		in.m.log.Info("a handler has caught up", "subject", q.subject, "node", in.from, "dropped", q.dropped)
	}
	q.dropped, q.told = 0, false
	if cap(q.messages) > keepItems {
		q.messages = nil
	}
	if e := in.m.handlers.named(q.subject); e == nil || e.handle == nil {
		delete(in.queues, q.subject)
	}
	return nil
}

func (in *inbox) call(msg Message) {
	defer func() {
		if r := recover(); r != nil {
			in.panicked(msg, r)
		}
	}()
	if e := in.m.handlers.named(msg.Subject); e != nil && e.handle != nil {
		e.handle(in.m.ctx, msg)
	}
}

func (in *inbox) panicked(msg Message, r any) {
	if left, ok := in.m.refusals.due("panic", msg.Subject, time.Now()); ok {
		in.m.log.Error("a handler panicked", "subject", msg.Subject, "node", msg.From, "panic", r, "stack", string(debug.Stack()), "repeated", left)
	}
}
