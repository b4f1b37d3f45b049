package mesh

import (
	"context"
	"maps"
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

// An inbox holds the messages of one instance that wait for the user's code, and its
// requests. It outlives the peer while any do: when it comes up again, its further
// messages are handled after those.
type inbox struct {
	m     *Mesh
	from  transport.Node
	desks desks

	given atomic.Bool // given up: what waits is dropped

	mu     sync.Mutex
	peer   *peer             // whose messages are taken; nil once none are. Set with the mesh's mu held, too
	queues map[string]*queue // by subject; kept while there is a handler
}

// inboxOf returns the inbox of a peer that comes up. The caller holds mu.
func (m *Mesh) inboxOf(p *peer) *inbox {
	in := m.leftovers[p.hello.instance]
	if in != nil && in.from == p.hello.node {
		delete(m.leftovers, p.hello.instance)
	} else {
		in = &inbox{m: m, from: p.hello.node, desks: desks{m: m}}
	}
	in.takeFrom(p)
	in.desks.takeFrom(p)
	return in
}

// leaveOver keeps the inbox of a peer that goes down, if messages wait in it or may
// come yet: of one that has left, all that it has said is taken. It keeps MaxPeers
// of them, since one host may come as ever new instances. The caller holds mu.
func (m *Mesh) leaveOver(p *peer, reason Reason) {
	maps.DeleteFunc(m.leftovers, func(_ instanceID, in *inbox) bool { return in.over() })
	p.in.desks.takeFrom(nil)
	if reason != ReasonLeft {
		p.in.takeFrom(nil)
	}
	switch other := m.leftovers[p.hello.instance]; {
	case p.in.over():
	case other != nil || len(m.leftovers) >= m.cfg.MaxPeers: // other's node has another name
		p.in.giveUp()
	default:
		m.leftovers[p.hello.instance] = p.in
	}
}

// takeFrom says whose messages are taken from now on: those of nobody else are, so
// that a link's reader which comes late mixes nothing in. The caller holds the
// mesh's mu.
func (in *inbox) takeFrom(p *peer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.peer = p
}

// giveUp drops what waits, and what comes yet. The calls that are under way go on.
// The caller holds the mesh's mu.
func (in *inbox) giveUp() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.peer = nil
	in.given.Store(true)
	for _, q := range in.queues {
		for _, msg := range q.items {
			q.bytes.Add(-int64(msg.size()))
		}
		in.lose(q.items)
		q.items = nil
	}
}

// over reports whether nothing waits, is handled, or is to come any more. The
// caller holds the mesh's mu.
func (in *inbox) over() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.peer != nil && len(in.peer.links) > 0 {
		return false
	}
	in.peer = nil
	if !in.desks.idle() {
		return false
	}
	for _, q := range in.queues {
		if q.running {
			return false
		}
	}
	return true
}

// yieldEvery is after how many bytes that wait a reader lets others run: the
// handler's goroutine may have had no chance yet.
const yieldEvery = 32 << 10

// itemBuffers is where the room for messages waits that no queue needs now: large
// ones, and small ones for a few messages, since each subject of each peer may have
// some that wait.
type itemBuffers struct{ small, large sync.Pool }

type (
	smallItems [16]item
	largeItems [yieldEvery / itemHeader]item
)

// grow returns b, or what has its messages and, if a buffer has it, room for n more.
func (p *itemBuffers) grow(b []item, n int) []item {
	if len(b)+n <= cap(b) || cap(b) >= len(largeItems{}) {
		return b
	}
	bigger := append(p.get(len(b)+n), b...)
	clear(b)
	p.put(b)
	return bigger
}

func (p *itemBuffers) get(n int) []item {
	if n <= len(smallItems{}) {
		if b, ok := p.small.Get().(*smallItems); ok {
			return b[:0]
		}
		return new(smallItems)[:0]
	}
	if b, ok := p.large.Get().(*largeItems); ok {
		return b[:0]
	}
	return new(largeItems)[:0]
}

// put takes room back, unless it is of another size.
func (p *itemBuffers) put(b []item) {
	switch cap(b) {
	case len(smallItems{}):
		p.small.Put((*smallItems)(b[:cap(b)]))
	case len(largeItems{}):
		p.large.Put((*largeItems)(b[:cap(b)]))
	}
}

type queue struct {
	entry *entry // as it was when the queue was made
	work  func()
	bytes atomic.Int64

	// The handler as it is in table, for the one goroutine that works.
	table  *map[string]*entry
	handle Handler

	// The inbox's mu guards these.
	items   []item
	running bool
	gone    bool // out of queues
	dropped int  // since the queue was last empty
	told    bool // that messages are dropped
}

// An item is a message that waits for its handler.
type item struct {
	data []byte
	held int // bytes of the mesh's budget
}

// size is what an item counts in a queue: an empty one takes memory too.
func (i *item) size() int { return itemHeader + len(i.data) }

const itemHeader = 64

// A batch is what a link's reader has read for one subject and not yet queued:
// what comes together is queued together, which is cheaper by far. It is the
// reader's own, and it remembers where its latest subject goes.
type batch struct {
	peer  *peer // whose link it is
	table *map[string]*entry
	entry *entry
	queue *queue
	items []item
	bytes int // of items
}

// batchMost is how many bytes a batch may have.
const batchMost = 16 << 10

// deliver is called by a link's reader: it neither blocks nor runs a handler.
// The message waits in b until flush at the latest. held is what it has of the
// mesh's budget.
func (in *inbox) deliver(subject, data []byte, held int, b *batch) {
	table := in.m.handlers.table.Load()
	if b.table != table || b.entry.subject != string(subject) {
		in.flush(b)
		*b = batch{peer: b.peer, table: table, entry: (*table)[string(subject)]}
	}
	if b.entry == nil || b.entry.handle == nil {
		b.table = nil
		in.m.large.give(held)
		in.unhandled(string(subject))
		return
	}
	if len(b.items) == cap(b.items) {
		b.items = in.m.items.grow(b.items, 1)
	}
	msg := item{data: data, held: held}
	b.items = append(b.items, msg)
	if b.bytes += msg.size(); b.bytes >= batchMost {
		in.flush(b)
	}
}

func (in *inbox) unhandled(subject string) {
	in.m.counts.unhandled.Add(1)
	if left, ok := in.m.refusals.due("unhandled", subject, time.Now()); ok {
		in.m.log.Warn("no handler for a message, dropping it", "subject", subject, "node", in.from, "repeated", left)
	}
}

// flush queues what waits in a batch. It lets others run now and then: the
// handler's goroutine may have had no chance yet.
func (in *inbox) flush(b *batch) {
	if len(b.items) == 0 {
		return
	}
	before, after := in.put(b)
	if before/yieldEvery != after/yieldEvery {
		runtime.Gosched()
	}
}

// put queues what is in a batch, and returns how many bytes waited before and
// wait now.
func (in *inbox) put(b *batch) (before, after int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if b.peer != in.peer {
		in.lose(b.items)
		b.items, b.bytes = nil, 0
		return 0, 0
	}
	q := b.queue
	if q == nil || q.gone {
		q = in.queue(b.entry)
		b.queue = q
	}
	before = int(q.bytes.Load())
	after = before + b.bytes
	if after > in.m.cfg.ReceiveQueue {
		after = in.putSome(q, b)
	}
	q.bytes.Add(int64(after - before))
	if q.items == nil {
		q.items = b.items
	} else {
		q.items = append(in.m.items.grow(q.items, len(b.items)), b.items...)
		clear(b.items)
		in.m.items.put(b.items)
	}
	b.items, b.bytes = nil, 0
	if !q.running && len(q.items) > 0 {
		q.running = true
		in.m.handlers.begin(q.entry.name)
		go q.work()
	}
	return before, after
}

// lose drops messages for good.
func (in *inbox) lose(items []item) {
	for _, msg := range items {
		in.m.large.give(msg.held)
	}
	in.m.counts.dropped.Add(int64(len(items)))
	clear(items)
	in.m.items.put(items)
}

// putSome drops of a batch what the queue has no room for: one message fits at
// least. It returns how many bytes will wait. The caller holds mu.
func (in *inbox) putSome(q *queue, b *batch) (waiting int) {
	waiting = int(q.bytes.Load())
	kept := b.items[:0]
	for _, msg := range b.items {
		if n := msg.size(); waiting == 0 || waiting+n <= in.m.cfg.ReceiveQueue {
			waiting += n
			kept = append(kept, msg)
			continue
		}
		in.m.large.give(msg.held)
		in.m.counts.dropped.Add(1)
		if q.dropped++; q.dropped == 1 {
			in.tellSlow(q)
		}
	}
	clear(b.items[len(kept):])
	b.items = kept
	return waiting
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
	var c course
	for !in.runOn(q, &c) { // a handler has panicked, and the next is called
	}
}

// A course is how far a handler's goroutine has come.
type course struct {
	batch []item
	at    int // in batch: the next
}

// runOn returns true once nothing waits, and false after a panic. What is large is
// given back at once, the rest with its batch.
func (in *inbox) runOn(q *queue, c *course) (done bool) {
	var msg Message
	held := 0
	defer func() {
		if done {
			return
		}
		in.m.large.give(held)
		if r := recover(); r != nil {
			in.m.panicked(msg, r)
			return
		}
		in.runAnew(q, c.batch[c.at:]) // the handler has ended its goroutine, by runtime.Goexit
	}()
	for {
		for c.at < len(c.batch) {
			i := c.batch[c.at]
			if held = i.held; held > 0 {
				c.batch[c.at] = item{}
			}
			c.at++
			q.bytes.Add(-int64(i.size()))
			switch handle := q.handler(in.m); {
			case in.given.Load():
				in.m.counts.dropped.Add(1)
			case handle != nil:
				msg = Message{From: in.from, Subject: q.entry.subject, Data: i.data}
				handle(in.m.ctx, msg)
			case in.m.ctx.Err() == nil:
				in.unhandled(q.entry.subject)
			}
			in.m.large.give(held)
		}
		clear(c.batch)
		if c.batch, c.at = in.next(q, c.batch), 0; len(c.batch) == 0 {
			return true
		}
	}
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

// handler returns what handles the subject now; nil if nothing does any more, or
// the mesh is closed.
func (q *queue) handler(m *Mesh) Handler {
	if m.ctx.Err() != nil {
		return nil
	}
	if table := m.handlers.table.Load(); q.table != table {
		q.table, q.handle = table, nil
		if e := (*table)[q.entry.subject]; e != nil {
			q.handle = e.handle
		}
	}
	return q.handle
}

// panicked logs a panic of the user's code.
func (m *Mesh) panicked(msg Message, r any) {
	if left, ok := m.refusals.due("panic", msg.Subject, time.Now()); ok {
		m.log.Error("a handler panicked", "subject", msg.Subject, "node", msg.From, "panic", r, "stack", string(debug.Stack()), "repeated", left)
	}
}
