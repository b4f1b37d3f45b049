package mesh

import (
	"errors"
	"runtime"
	"sync"
	"time"
)

// smallBatch is how many bytes of messages go in one write with control frames.
const smallBatch = 4 << 10

const (
	// maxControl is how many bytes of control frames may wait.
	maxControl = 64 << 10
	// maxOrdered is how many bytes may wait beyond the messages' limit.
	maxOrdered = 1 << 20
	// burst is the time after a write in which another is taken for the second
	// of many, which go faster together.
	burst = 3 * time.Microsecond
)

var (
	errRetired = errors.New("mesh: another link has taken over")
	errEnded   = errors.New("mesh: link ended")
)

// An outbox is what waits to be written to one link. Control frames go before
// messages, and parts of large ones between the others, so that a ping never
// waits behind bulk. One goroutine writes, and lives only while there is
// something to write; whoever sends on an idle link writes in its place.
type outbox struct {
	limit   int // bytes of messages that may wait
	buffers *writeBuffers
	write   func([]byte)      // writes all, and before that what try has left; or ends the link
	try     func([]byte) bool // never waits; false if some is left for write. Nil if there is no such way
	shut    func()            // ends the writing side, after the last frame
	start   func(f func())    // runs f on a goroutine that the mesh joins

	mu       sync.Mutex
	control  []byte
	messages []byte
	bulk     bulk
	final    []byte // goes after all others
	partNext bool   // messages went last, so a part goes next
	left     bool   // try has left something
	writing  bool
	wrote    time.Time // when the last write ended
	last     bool      // the last frame is queued
	until    time.Time // when the bulk is given up, once close was called
	shutting bool      // shut runs when all is written
	err      error
	space    chan struct{} // closed when messages can be queued again; nil if none waits
}

// send queues a letter that isn't large, or returns a channel that is closed
// when it is worth trying again. It is queued whole if there is any room, so
// limit may be passed by one. The reader isn't eager: it never writes.
func (o *outbox) send(l *letter, eager bool) (wait <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, o.err
	case o.last:
		return nil, errRetired
	case len(o.messages) >= o.limit:
		if o.space == nil {
			o.space = make(chan struct{})
		}
		return o.space, nil
	}
	if eager && o.try != nil && o.idle() && time.Since(o.wrote) >= burst {
		o.writeNow(l)
		return nil, nil
	}
	o.messages = l.append(o.room(headerSize + l.size()))
	o.kick()
	return nil, nil
}

// writeNow writes a letter in place of the writer. The caller holds mu.
func (o *outbox) writeNow(l *letter) {
	o.writing = true
	o.mu.Unlock()
	b := l.append(o.buffers.get(headerSize + l.size()))
	all := o.try(b)
	o.buffers.put(b)
	o.mu.Lock()
	o.writing, o.wrote = false, time.Now()
	if o.err != nil {
		return // the mesh may have joined the last writer
	}
	if o.left = !all; !o.idle() {
		o.kick()
	}
}

// idle reports whether nothing is, or is to be, written.
func (o *outbox) idle() bool {
	return !o.writing && !o.left && !o.shutting && len(o.control)+len(o.messages)+len(o.final) == 0 && o.bulk.empty()
}

// room is where the next message, of so many bytes, is appended.
func (o *outbox) room(n int) []byte { return o.buffers.grow(o.messages, n) }

// begin queues a large letter. The caller waits for done, or gives up.
func (o *outbox) begin(l *letter) (*transfer, error) {
	t := newTransfer(l)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, o.err
	case o.last:
		return nil, errRetired
	}
	o.bulk.add(l.subject, t)
	o.kick()
	return t, nil
}

// giveUp stops a transfer, and reports false if that is too late: then done says
// how it has ended.
func (o *outbox) giveUp(t *transfer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.bulk.remove(t) {
		return false
	}
	if t.begun { // an empty part: the rest doesn't come; it goes before another is begun
		o.partNext = false
		o.messages = t.appendPart(o.room(headerSize+partHead), 0)
		o.kick()
	}
	return true
}

// order queues a frame that keeps its place among the messages. It reports false
// if so much waits that the peer can't be reading.
func (o *outbox) order(t frameType, payload []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil || o.last:
		return true // another link has all
	case len(o.messages) >= o.limit+maxOrdered:
		return false
	}
	o.messages = appendFrame(o.room(headerSize+len(payload)), t, payload)
	o.kick()
	return true
}

// urge queues a frame that goes before the messages. It is left out if the peer
// reads so slowly that many wait: it may be asking only to make answers wait.
func (o *outbox) urge(t frameType, payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.last || len(o.control) >= maxControl {
		return
	}
	o.control = appendFrame(o.control, t, payload)
	o.kick()
}

// retire queues the last frame of this link; what follows goes to another, and
// so do large letters that haven't begun.
func (o *outbox) retire() { o.finish(frameLast, nil, false) }

// hangUp shuts the writing side once all that is queued is written.
func (o *outbox) hangUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.shutting = true
		o.kick()
	}
}

// close says goodbye after what is queued, and shuts the writing side. Large
// letters have half of the time that the link is given, so that the goodbye
// comes through.
func (o *outbox) close(code Code, reason string) {
	o.finish(frameClose, encodeReason(code, reason), true)
}

func (o *outbox) finish(t frameType, payload []byte, hangUp bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.shutting {
		return
	}
	if !o.last || hangUp {
		o.final = appendFrame(o.final, t, payload)
	}
	o.last, o.shutting = true, hangUp
	if hangUp {
		o.until = time.Now().Add(partTimeout / 2)
	}
	o.bulk.fail(errRetired, false)
	o.release()
	o.kick()
}

// fail drops what is queued and refuses what comes.
func (o *outbox) fail() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = errEnded
	o.control, o.messages, o.final, o.left = nil, nil, nil, false
	o.bulk.fail(errEnded, true)
	o.release()
}

func (o *outbox) release() {
	if o.space != nil {
		close(o.space)
		o.space = nil
	}
}

func (o *outbox) kick() {
	if !o.writing {
		o.writing = true
		o.start(o.run)
	}
}

func (o *outbox) run() {
	for {
		switch b, next := o.next(); next {
		case nextDone:
			return
		case nextShut:
			o.shut()
			return
		case nextPart:
			o.write(b)
			o.buffers.put(b)
			runtime.Gosched() // who has something small to send may go first
		case nextWrite:
			o.write(b)
			o.buffers.put(b)
		}
	}
}

// What the writer does next.
type nextStep int

const (
	nextDone nextStep = iota
	nextWrite
	nextPart
	nextShut
)

// next takes what is to be written: control frames first, and by themselves
// unless all messages can go in the same write; messages and parts in turn. All
// messages that wait go between two parts, so a large message, which has two at
// least, doesn't arrive before what was sent ahead of it.
func (o *outbox) next() (b []byte, next nextStep) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.until.IsZero() && !o.bulk.empty() && !time.Now().Before(o.until) {
		o.bulk.fail(errEnded, true)
	}
	switch {
	case o.left:
		o.left = false
		return nil, nextWrite
	case len(o.control) > 0:
		b, o.control = o.control, nil
		if len(o.messages) <= smallBatch {
			b = append(b, o.messages...)
			o.messages = o.messages[:0]
		}
	case len(o.messages) > 0 && (!o.partNext || o.bulk.empty()):
		b, o.messages, o.partNext = o.messages, nil, true
	case !o.bulk.empty():
		o.partNext = false
		return o.bulk.next(o.buffers.get(partSize)), nextPart
	case len(o.final) > 0:
		b, o.final = o.final, nil
	default:
		return nil, o.rest()
	}
	if len(o.messages) < o.limit {
		o.release()
	}
	return b, nextWrite
}

// rest keeps no buffer while nothing is to be written.
func (o *outbox) rest() nextStep {
	o.buffers.put(o.messages)
	o.messages, o.writing, o.wrote = nil, false, time.Now()
	if o.shutting && o.err == nil {
		o.writing = true // for good: nothing is written after this
		return nextShut
	}
	return nextDone
}

// writeBuffers is where the buffers wait that no link needs now: large ones, and
// small ones for what is mostly written, so that a link that says a word takes none
// of the large.
type writeBuffers struct{ small, large sync.Pool }

type (
	smallBuffer [4 << 10]byte
	// A largeBuffer holds what waits for one link, with the default SendQueue.
	largeBuffer [defaultSendQueue + maxWhole + 2<<10]byte
)

// grow returns b, or what has its bytes and, if a buffer has it, room for n more.
func (p *writeBuffers) grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) || cap(b) >= len(largeBuffer{}) {
		return b
	}
	bigger := p.get(len(b) + n)
	bigger = append(bigger, b...)
	p.put(b)
	return bigger
}

func (p *writeBuffers) get(n int) []byte {
	if n <= len(smallBuffer{}) {
		if b, ok := p.small.Get().(*smallBuffer); ok {
			return b[:0]
		}
		return new(smallBuffer)[:0]
	}
	if b, ok := p.large.Get().(*largeBuffer); ok {
		return b[:0]
	}
	return new(largeBuffer)[:0]
}

// put takes a buffer back, unless it is of another size.
func (p *writeBuffers) put(b []byte) {
	switch cap(b) {
	case len(smallBuffer{}):
		p.small.Put((*smallBuffer)(b[:cap(b)]))
	case len(largeBuffer{}):
		p.large.Put((*largeBuffer)(b[:cap(b)]))
	}
}
