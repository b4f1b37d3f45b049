package gossip

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// share lets several processes of this machine hear by the same port.
func share(bool) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) {
			err = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
		})
		if control != nil {
			return control
		}
		return err
	}
}
