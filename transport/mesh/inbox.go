package mesh

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
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

// yieldEvery is after how many bytes that wait a reader lets others run: the
// handler's goroutine may have had no chance yet.
const yieldEvery = 32 << 10

// itemBuffers is where the room for messages waits that no queue needs now.
type itemBuffers struct{ pool sync.Pool }

type itemBuffer [2 * yieldEvery / itemHeader]item

func (p *itemBuffers) get() []item {
	if b, ok := p.pool.Get().(*itemBuffer); ok {
		return b[:0]
	}
	return new(itemBuffer)[:0]
}

// put takes room back, unless it is of another size.
func (p *itemBuffers) put(b []item) {
	if cap(b) == len(itemBuffer{}) {
		p.pool.Put((*itemBuffer)(b[:cap(b)]))
	}
}

type queue struct {
	entry *entry // as it was when the queue was made
	work  func()
	bytes atomic.Int64

	// The inbox's mu guards these.
	items   []item
	running bool
	gone    bool // out of queues
	dropped int  // since the queue was last empty
	told    bool // that messages are dropped
}

// An item is what waits for the user's code.
type item struct {
	data []byte
	id   uint64 // of a request
	held int    // bytes of the mesh's budget
}

// size is what an item counts in a queue: an empty one takes memory too.
func (i *item) size() int { return itemHeader + len(i.data) }

const itemHeader = 64

// A recent is the subject that came last on a link, to find it at once.
type recent struct {
	table *map[string]*entry
	entry *entry
	queue *queue
}

// deliver is called by a link's reader: it neither blocks nor runs a handler.
// held is what the message has of the mesh's budget.
func (in *inbox) deliver(subject, data []byte, held int, last *recent) {
	table := in.m.handlers.table.Load()
	if last.table != table || last.entry.subject != string(subject) {
		*last = recent{table: table, entry: (*table)[string(subject)]}
	}
	if last.entry == nil || last.entry.handle == nil {
		last.table = nil
		in.m.large.give(held)
		if left, ok := in.m.refusals.due("unhandled", string(subject), time.Now()); ok {
			in.m.log.Warn("no handler for a message, dropping it", "subject", string(subject), "node", in.from, "repeated", left)
		}
		return
	}
	if waiting, n := in.put(item{data: data, held: held}, last); waiting/yieldEvery != (waiting+n)/yieldEvery {
		runtime.Gosched()
	}
}

// put queues a message, and returns how many bytes waited before and how many
// more wait by it.
func (in *inbox) put(msg item, last *recent) (waiting, n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	q := last.queue
	if q == nil || q.gone {
		q = in.queue(last.entry)
		last.queue = q
	}
	waiting, n = int(q.bytes.Load()), msg.size()
	if waiting > 0 && waiting+n > in.m.cfg.ReceiveQueue {
		in.m.large.give(msg.held)
		if q.dropped++; q.dropped == 1 {
			in.tellSlow(q)
		}
		in.m.dropped.Add(1)
		return waiting, 0
	}
	if q.items == nil {
		q.items = in.m.items.get()
	}
	q.items = append(q.items, msg)
	q.bytes.Add(int64(n))
	if !q.running {
		q.running = true
		in.m.handlers.begin(q.entry.name)
		go q.work()
	}
	return waiting, n
}

// queue finds a subject's queue. The caller holds mu.
func (in *inbox) queue(e *entry) *queue {
	q := in.queues[e.subject]
	if q == nil {
		q = &queue{entry: e}
		q.work = func() {
			defer in.m.handlers.end(q.entry.name)
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
	if left, q.told = in.m.refusals.due("slow", q.entry.subject+"\x00"+string(in.from), time.Now()); q.told {
		in.m.log.Warn("a handler is too slow, dropping messages", "subject", q.entry.subject, "node", in.from, "queued_bytes", q.bytes.Load(), "repeated", left)
	}
}

// run hands messages over for as long as there are any.
func (in *inbox) run(q *queue) {
	var batch []item
	at, held, done := 0, 0, false
	defer func() {
		if !done { // the handler has ended its goroutine, by runtime.Goexit
			in.m.large.give(held)
			in.runAnew(q, batch[at+1:])
		}
	}()
	for batch = in.next(q, nil); len(batch) > 0; batch = in.next(q, batch) {
		for at = range batch {
			msg := batch[at]
			batch[at], held = item{}, msg.held
			q.bytes.Add(-int64(msg.size()))
			if in.m.ctx.Err() == nil {
				in.call(Message{From: in.from, Subject: q.entry.subject, Data: msg.data})
			}
			in.m.large.give(held)
		}
	}
	done = true
}

// runAnew goes on with what is left of a batch, on another goroutine.
func (in *inbox) runAnew(q *queue, left []item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	q.items = slices.Concat(left, q.items)
	in.m.handlers.begin(q.entry.name)
	go q.work()
}

// sweep forgets a subject's queue, whose handler is gone. One that is running does
// so itself.
func (in *inbox) sweep(subject string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if q := in.queues[subject]; q != nil && !q.running {
		q.gone = true
		delete(in.queues, subject)
	}
}

// next takes all that waits, and leaves an empty slice in its place.
func (in *inbox) next(q *queue, empty []item) (batch []item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(q.items) > 0 {
		batch, q.items = q.items, empty[:0]
		return batch
	}
	in.m.items.put(empty)
	q.running = false
	if q.told {
		in.m.log.Info("a handler has caught up", "subject", q.entry.subject, "node", in.from, "dropped", q.dropped)
	}
	q.dropped, q.told = 0, false
	in.m.items.put(q.items)
	q.items = nil
	if e := in.m.handlers.find(q.entry.subject); e == nil || e.handle == nil {
		q.gone = true
		delete(in.queues, q.entry.subject)
	}
	return nil
}

func (in *inbox) call(msg Message) {
	defer func() {
		if r := recover(); r != nil {
			in.panicked(msg, r)
		}
	}()
	if e := in.m.handlers.find(msg.Subject); e != nil && e.handle != nil {
		e.handle(in.m.ctx, msg)
	}
}

func (in *inbox) panicked(msg Message, r any) {
	if left, ok := in.m.refusals.due("panic", msg.Subject, time.Now()); ok {
		in.m.log.Error("a handler panicked", "subject", msg.Subject, "node", msg.From, "panic", r, "stack", string(debug.Stack()), "repeated", left)
	}
}
