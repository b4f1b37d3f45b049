package mesh

import (
	"encoding/binary"
	"slices"
)

const (
	// maxWhole is the longest payload that a message, a request or a reply has
	// as one frame: what is longer goes in parts, so that nothing waits behind
	// it for long.
	maxWhole = maxPart + 1<<10
	// maxPart is how many bytes a part may have.
	maxPart = 64 << 10
	// partSize is how many this node gives one, so that it is two TLS records
	// with what goes before it.
	partSize = 32<<10 - 32
	// maxOpen is how many bytes of large messages may be begun on a link and not
	// finished before one more is begun.
	maxOpen = 32 << 20
)

// A transfer is a letter on its way in parts. Its data are the sender's, who
// waits for done.
type transfer struct {
	id    uint32
	t     frameType
	head  []byte // of the payload; data follow
	data  []byte
	sent  int // bytes of the payload
	begun bool
	done  chan error // holds nil once data aren't needed any more, or why they won't be sent
}

func newTransfer(l *letter) *transfer {
	return &transfer{t: l.t, head: l.appendHead(nil), data: l.data, done: make(chan error, 1)}
}

func (t *transfer) size() int { return len(t.head) + len(t.data) }

// appendPart appends the next n bytes of the payload.
func (t *transfer) appendPart(b []byte, n int) []byte {
	b = appendHeader(b, framePart, partHead+n)
	b = binary.BigEndian.AppendUint32(b, t.id)
	if t.sent < len(t.head) {
		head := t.head[t.sent:]
		b = append(b, head...) // shorter than any part
		n -= len(head)
		t.sent += len(head)
	}
	from := t.sent - len(t.head)
	t.sent += n
	return append(b, t.data[from:from+n]...)
}

// A bulk is what goes in parts on one link: those of a subject one after the
// other, and a part of each subject in turn. The outbox's mu guards it.
type bulk struct {
	lanes []*lane // the next first
	open  int     // bytes of those that are begun
	last  uint32  // the latest id
}

type lane struct {
	subject string
	queue   []*transfer // never empty
}

func (b *bulk) empty() bool { return len(b.lanes) == 0 }

func (b *bulk) add(subject string, t *transfer) {
	b.last++
	t.id = b.last
	i := slices.IndexFunc(b.lanes, func(l *lane) bool { return l.subject == subject })
	if i < 0 {
		b.lanes = append(b.lanes, &lane{subject: subject})
		i = len(b.lanes) - 1
	}
	b.lanes[i].queue = append(b.lanes[i].queue, t)
}

// next appends the part whose turn it is.
func (b *bulk) next(buf []byte) []byte {
	for i, l := range b.lanes {
		t := l.queue[0]
		if !t.begun {
			if b.open >= maxOpen {
				continue // another is begun, so something is sent
			}
			t.begun = true
			b.open += t.size()
			buf = appendFrame(buf, frameLarge, encodeLarge(t.id, t.t, t.size()))
		}
		copy(b.lanes[i:], b.lanes[i+1:])
		b.lanes[len(b.lanes)-1] = l
		buf = t.appendPart(buf, min(partSize, t.size()-t.sent))
		if t.sent == t.size() {
			b.remove(t)
			t.done <- nil
		}
		return buf
	}
	return buf
}

// remove takes a transfer out, and reports whether it was there.
func (b *bulk) remove(t *transfer) bool {
	for i, l := range b.lanes {
		j := slices.Index(l.queue, t)
		if j < 0 {
			continue
		}
		if l.queue = slices.Delete(l.queue, j, j+1); len(l.queue) == 0 {
			b.lanes = slices.Delete(b.lanes, i, i+1)
		}
		if t.begun {
			b.open -= t.size()
		}
		return true
	}
	return false
}

// fail gives up all transfers, or those that haven't begun.
func (b *bulk) fail(err error, begunToo bool) {
	for _, l := range slices.Clone(b.lanes) {
		for _, t := range slices.Clone(l.queue) {
			if begunToo || !t.begun {
				b.remove(t)
				t.done <- err
			}
		}
	}
}
