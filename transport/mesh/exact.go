package mesh

import (
	"encoding/binary"
	"net"
	"sync"
)

// An idle link should hold as little memory as can be. [crypto/tls] reads into a
// buffer that grows to hold whatever a Read returns, and never shrinks; so an
// exactConn returns no bytes beyond the end of the TLS record that is being
// read. What it has read beyond that waits in a buffer out of a pool, which goes
// back as soon as it is empty: a link that waits for its peer holds none.

const recordHeader = 5 // RFC 8446, section 5.1: type, version, length

// exactBuffers is where the buffers wait that no link needs now.
type exactBuffers struct{ pool sync.Pool }

type readBuffer [32 << 10]byte

func (p *exactBuffers) get() *readBuffer {
	if b, ok := p.pool.Get().(*readBuffer); ok {
		return b
	}
	return new(readBuffer)
}

func (p *exactBuffers) put(b *readBuffer) { p.pool.Put(b) }

// An exactConn is read by one goroutine at a time, as crypto/tls does.
type exactConn struct {
	net.Conn
	out     pusher
	fill    func(buffers *exactBuffers) (buf *readBuffer, n int, err error)
	buffers *exactBuffers

	buf     *readBuffer // from buffers; nil if nothing is pending
	pending []byte      // the part of buf that hasn't been returned

	header [recordHeader]byte
	seen   int // bytes of header
	left   int // bytes of the record's body that haven't been returned
}

func newExactConn(conn net.Conn, buffers *exactBuffers) net.Conn {
	fill := filler(conn)
	if fill == nil {
		return conn
	}
	return &exactConn{Conn: conn, out: pusher{conn: conn, push: pushTo(conn)}, fill: fill, buffers: buffers}
}

// Write may be called by several goroutines, as crypto/tls does for an alert.
func (c *exactConn) Write(b []byte) (int, error) { return c.out.Write(b) }

func (c *exactConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.await(); err != nil {
		return 0, err
	}
	n := copy(b, c.pending[:c.allowed()])
	c.follow(c.pending[:n])
	c.pending = c.pending[n:]
	if len(c.pending) == 0 {
		c.buffers.put(c.buf)
		c.buf, c.pending = nil, nil
	}
	return n, nil
}

// await returns when something is pending. It may be called between two reads.
func (c *exactConn) await() error {
	if len(c.pending) > 0 {
		return nil
	}
	buf, n, err := c.fill(c.buffers)
	if err != nil {
		return err
	}
	c.buf, c.pending = buf, buf[:n]
	return nil
}

// allowed is how much of what is pending belongs to the header, or to the body,
// that is being read.
func (c *exactConn) allowed() int {
	if c.left > 0 {
		return min(c.left, len(c.pending))
	}
	return min(recordHeader-c.seen, len(c.pending))
}

// follow keeps track of where in the records the reader is.
func (c *exactConn) follow(b []byte) {
	if c.left > 0 {
		c.left -= len(b)
		return
	}
	c.seen += copy(c.header[c.seen:], b)
	if c.seen == recordHeader {
		c.seen = 0
		c.left = int(binary.BigEndian.Uint16(c.header[3:]))
	}
}
