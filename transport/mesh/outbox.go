package mesh

import (
	"errors"
	"sync"
)

// keepBuffer is the largest buffer that an outbox keeps while it is idle.
const keepBuffer = 4 << 10

const (
	// maxControl is how many bytes of control frames may wait.
	maxControl = 64 << 10
	// maxOrdered is how many bytes may wait beyond the messages' limit.
	maxOrdered = 1 << 20
)

var (
	errRetired = errors.New("mesh: another link has taken over")
	errEnded   = errors.New("mesh: link ended")
)

// An outbox is what waits to be written to one link. Control frames go before
// messages, so that a ping never waits behind bulk. One goroutine writes, and
// lives only while there is something to write.
type outbox struct {
	limit int            // bytes of messages that may wait
	write func([]byte)   // writes all, or ends the link
	shut  func()         // ends the writing side, after the last frame
	start func(f func()) // runs f on a goroutine that the mesh joins

	mu       sync.Mutex
	control  []byte
	messages []byte
	spare    []byte // a buffer to swap with
	writing  bool
	last     bool // the last frame is queued
	shutting bool // shut runs when all is written
	err      error
	space    chan struct{} // closed when messages can be queued again; nil if none waits
}

// send queues a message, or returns a channel that is closed when it is worth
// trying again. A message is queued whole if there is any room, so limit may
// be passed by one message.
func (o *outbox) send(subject string, data []byte) (wait <-chan struct{}, err error) {
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
	o.messages = appendMessage(o.messages, subject, data)
	o.kick()
	return nil, nil
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
	o.messages = appendFrame(o.messages, t, payload)
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

// retire queues the last frame of this link; what follows goes to another.
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

// close says goodbye after what is queued, and shuts the writing side.
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
		o.messages = appendFrame(o.messages, t, payload)
	}
	o.last, o.shutting = true, hangUp
	o.release()
	o.kick()
}

// fail drops what is queued and refuses what comes.
func (o *outbox) fail() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = errEnded
	o.control, o.messages, o.spare = nil, nil, nil
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
		b, shut := o.next()
		switch {
		case b != nil:
			o.write(b)
			o.reuse(b)
		case shut:
			o.shut()
			return
		default:
			return
		}
	}
}

// next takes what is to be written: control frames first, and by themselves
// only if there is no message, so that both go in one write.
func (o *outbox) next() (b []byte, shut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.control) == 0 && len(o.messages) == 0 {
		o.writing = false
		if cap(o.spare) > keepBuffer {
			o.spare = nil
		}
		if o.shutting && o.err == nil {
			o.writing = true // for good: nothing is written after this
			return nil, true
		}
		return nil, false
	}
	if len(o.control) > 0 {
		b, o.control = o.control, nil
		if len(o.messages) <= keepBuffer {
			b = append(b, o.messages...)
			o.messages = o.messages[:0]
		}
	} else {
		b, o.messages, o.spare = o.messages, o.spare[:0], nil
	}
	if len(o.messages) < o.limit {
		o.release()
	}
	return b, false
}

func (o *outbox) reuse(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && cap(b) > cap(o.spare) && cap(b) <= 4*o.limit {
		o.spare = b[:0]
	}
}
