//go:build linux

package hosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces is where ip(8) has the namespaces that have names.
const namespaces = "/run/netns"

// Dial connects from the host to an address, as [net.Dialer.DialContext] does: with
// it the test reaches servers that run on a host. The address has to be one of an IP,
// not a name. It may be called from any goroutine.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result, 1)
	go func() { // until the dialling has ended, for which the caller waits
		// The thread is never unlocked: with this goroutine it ends, and so nothing
		// else runs on the host by mistake. A connection stays where it was made.
		runtime.LockOSThread()
		if err := h.enter(); err != nil {
			dialled <- result{nil, err}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		dialled <- result{conn, err}
	}()
	r := <-dialled
	return r.conn, r.err
}

// enter has the calling thread be on the host.
func (h *Host) enter() error {
	f, err := os.Open(filepath.Join(namespaces, h.namespace))
	if err != nil {
		return fmt.Errorf("hosts: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("hosts: setns to %s: %w", h.namespace, err)
	}
	return nil
}
