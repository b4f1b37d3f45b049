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
	return func(buffers *exactBuffers) (buf *readBuffer, n int, err error) {
		var readErr error
		err = raw.Read(func(fd uintptr) (done bool) {
			buf = buffers.get()
			for {
				n, readErr = syscall.Read(int(fd), buf[:])
				if readErr != syscall.EINTR {
					break
				}
			}
			if readErr == nil && n > 0 {
				return true
			}
			buffers.put(buf)
			buf = nil
			return readErr != syscall.EAGAIN
		})
		switch {
		case err != nil:
			return nil, 0, err
		case readErr != nil:
			return nil, 0, &net.OpError{Op: "read", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("read", readErr)}
		case buf == nil:
			return nil, 0, io.EOF
		default:
			return buf, n, nil
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
