package mesh

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
)

// A budget bounds the bytes of the large messages of all peers, from their first
// part until they are handled.
type budget struct {
	most int64
	used atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.most {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) {
	if n > 0 {
		b.used.Add(-int64(n))
	}
}

// arrivals are the large messages that come on one link and aren't complete. The
// link's reader owns them.
type arrivals struct {
	budget *budget
	open   map[uint32]*arrival
	bytes  int // of all that are open
}

// An arrival is a large message that is coming.
type arrival struct {
	t       frameType
	length  int
	came    int
	payload []byte       // nil before the first part; then the whole, or nothing if it is skipped
	head    [idSize]byte // of a payload that is skipped
}

// skipped reports whether there is no room for it.
func (a *arrival) skipped() bool { return a.came > 0 && a.payload == nil }

// begin takes a large frame. most is how long its kind may be.
func (as *arrivals) begin(payload []byte, most func(frameType) int) error {
	number, t, length, err := decodeLarge(payload)
	switch {
	case err != nil:
		return err
	case length > most(t):
		return fmt.Errorf("%w: large: type %d with %d bytes, more than %d", errMalformed, t, length, most(t))
	case as.open[number] != nil:
		return fmt.Errorf("%w: large: number %d is open already", errMalformed, number)
	case as.bytes >= maxOpen:
		return fmt.Errorf("%w: large: one more while %d bytes are open; at most %d may be", errMalformed, as.bytes, maxOpen)
	}
	if as.open == nil {
		as.open = map[uint32]*arrival{}
	}
	as.open[number] = &arrival{t: t, length: length}
	as.bytes += length
	return nil
}

// part reads a part frame of n bytes. It returns what is complete by it, or is
// refused by it for lack of room; nil if nothing is.
func (as *arrivals) part(r io.Reader, n int) (done *arrival, err error) {
	if n < partHead {
		return nil, malformed("part", errShort)
	}
	var h [partHead]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	number := binary.BigEndian.Uint32(h[:])
	n -= partHead
	a := as.open[number]
	switch {
	case a == nil:
		return nil, fmt.Errorf("%w: part of number %d, which isn't open", errMalformed, number)
	case n == 0: // its sender has given up
		as.drop(number, a)
		return nil, nil
	case n > a.length-a.came:
		return nil, fmt.Errorf("%w: part of number %d with %d bytes where %d are left", errMalformed, number, n, a.length-a.came)
	}
	return as.read(r, number, a, n)
}

func (as *arrivals) read(r io.Reader, number uint32, a *arrival, n int) (done *arrival, err error) {
	first := a.came == 0
	if first && as.budget.take(a.length) {
		a.payload = make([]byte, a.length)
	}
	from := a.came
	a.came += n
	if !a.skipped() {
		if _, err := io.ReadFull(r, a.payload[from:a.came]); err != nil {
			return nil, err
		}
	} else {
		head := min(n, max(len(a.head)-from, 0)) // a part may be shorter than that
		if head > 0 {
			if _, err := io.ReadFull(r, a.head[from:from+head]); err != nil {
				return nil, err
			}
		}
		if _, err := io.CopyN(io.Discard, r, int64(n-head)); err != nil {
			return nil, err
		}
		if from < len(a.head) && a.came >= len(a.head) {
			done = a
		}
	}
	if a.came == a.length {
		delete(as.open, number)
		as.bytes -= a.length
		if !a.skipped() {
			done = a
		}
	}
	return done, nil
}

// drop forgets one that won't be complete.
func (as *arrivals) drop(number uint32, a *arrival) {
	if a.payload != nil {
		as.budget.give(a.length)
	}
	delete(as.open, number)
	as.bytes -= a.length
}

// end forgets all, with the link.
func (as *arrivals) end() {
	for number, a := range as.open {
		as.drop(number, a)
	}
}
