//go:build unix

package mesh

import (
	"io"
	"net"
	"os"
	"syscall"
)

// filler returns what reads from a connection into a buffer that is taken only
// once there is something to read; nil if that can't be.
func filler(conn net.Conn) func(*exactBuffers) (*readBuffer, int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	var r struct { // in place of the func's own variables, which would be allocated each time
		buffers *exactBuffers
		buf     *readBuffer
		n       int
		err     error
	}
	read := func(fd uintptr) (done bool) {
		buf := r.buffers.get()
		n, err := syscall.Read(int(fd), buf[:])
		for err == syscall.EINTR {
			n, err = syscall.Read(int(fd), buf[:])
		}
		if err == nil && n > 0 {
			r.buf, r.n, r.err = buf, n, nil
			return true
		}
		r.buffers.put(buf)
		r.buf, r.err = nil, err
		return err != syscall.EAGAIN
	}
	return func(buffers *exactBuffers) (*readBuffer, int, error) {
		r.buffers = buffers
		err := raw.Read(read)
		buf := r.buf
		r.buf = nil
		switch {
		case err != nil:
			return nil, 0, err
		case r.err != nil:
			return nil, 0, &net.OpError{Op: "read", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("read", r.err)}
		case buf == nil:
			return nil, 0, io.EOF
		default:
			return buf, r.n, nil
		}
	}
}

// pushTo returns what writes to a connection as much as goes at once, which may
// be nothing; nil if that can't be. It is called by one goroutine at a time.
func pushTo(conn net.Conn) func([]byte) (int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	var p struct { // in place of the func's own variables, which would be allocated each time
		b   []byte
		n   int
		err error
	}
	write := func(fd uintptr) (done bool) {
		n, err := syscall.Write(int(fd), p.b)
		for err == syscall.EINTR {
			n, err = syscall.Write(int(fd), p.b)
		}
		if err == syscall.EAGAIN {
			n, err = 0, nil
		}
		p.n, p.err = n, err
		return true
	}
	return func(b []byte) (int, error) {
		p.b = b
		err := raw.Write(write)
		p.b = nil
		switch {
		case err != nil:
			return 0, err
		case p.err != nil:
			return 0, &net.OpError{Op: "write", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("write", p.err)}
		default:
			return p.n, nil
		}
	}
}
