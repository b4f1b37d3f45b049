//go:build unix

package gossip

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets several processes of this machine hear by the same port.
func share(ipv6 bool) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				onlyOwnGroups(int(fd), ipv6),
			)
		})
		return errors.Join(control, err)
	}
}
