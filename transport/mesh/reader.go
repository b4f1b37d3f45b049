package mesh

import (
	"bufio"
	"crypto/tls"
	"io"
)

// plainBuffer is what a link keeps that can't wait without a buffer.
const plainBuffer = 4 << 10

// A frameReader is what a link's frames are read from. It has a buffer only
// while there is something in it. It waits for the next frame in rest, where the
// stack is shallow: from within [crypto/tls], an idle link's stack would stay
// twice as large.
type frameReader struct {
	l      *link
	header [headerSize]byte // of the frame that is being read

	exact *exactConn    // nil if there is no waiting without a buffer
	plain *bufio.Reader // in its place

	buf      *readBuffer // from the mesh's buffers; nil if nothing is pending
	from, to int         // the part of buf that hasn't been read
	drained  bool        // crypto/tls has nothing left of what it has decrypted
}

func newFrameReader(l *link) *frameReader {
	r := &frameReader{l: l}
	if tc, ok := l.conn.(*tls.Conn); ok {
		r.exact, _ = tc.NetConn().(*exactConn)
	}
	if r.exact == nil {
		r.plain = bufio.NewReaderSize(readFunc(r.fill), plainBuffer)
	}
	return r
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// rest returns when there is more to read, or may be.
func (r *frameReader) rest() error {
	if r.exact == nil || r.from < r.to || !r.drained {
		return nil
	}
	r.l.flush()
	return r.exact.await()
}

// full fills b.
func (r *frameReader) full(b []byte) error {
	if n := len(b); n < r.to-r.from { // as Read does, and mostly there is no more to do
		copy(b, r.buf[r.from:])
		r.from += n
		return nil
	}
	_, err := io.ReadFull(r, b)
	return err
}

// Read reads what is long straight into b.
func (r *frameReader) Read(b []byte) (int, error) {
	if r.plain != nil {
		return r.plain.Read(b)
	}
	if r.from == r.to {
		if len(b) >= len(r.buf)/2 {
			return r.fill(b)
		}
		buf := r.l.m.buffers.get()
		n, err := r.fill(buf[:])
		if n == 0 {
			r.l.m.buffers.put(buf)
			return 0, err
		}
		r.buf, r.from, r.to = buf, 0, n
	}
	n := copy(b, r.buf[r.from:r.to])
	if r.from += n; r.from == r.to {
		r.l.m.buffers.put(r.buf)
		r.buf, r.from, r.to = nil, 0, 0
	}
	return n, nil
}

// fill reads from the connection, and notes when bytes came.
func (r *frameReader) fill(b []byte) (int, error) {
	r.l.flush()
	n, err := r.l.conn.Read(b)
	if n > 0 {
		r.l.heard.Store(int64(r.l.m.elapsed()))
	}
	r.drained = n < len(b)
	return n, err
}
