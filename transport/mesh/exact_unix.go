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
