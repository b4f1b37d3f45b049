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

const (
	// namespaces is where ip(8) has the namespaces that have names.
	namespaces = "/run/netns"
	// ownNamespace is that of the calling thread.
	ownNamespace = "/proc/thread-self/ns/net"
)

// Dial connects from the host to an address, as [net.Dialer.DialContext] does: with
// it the test reaches servers that run on a host. The address has to be one of an IP,
// not a name. It may be called from any goroutine.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	var d net.Dialer
	return d.DialContext(ctx, network, address) // it stays where it was made
}

// enter has the calling goroutine be on the host until it calls leave.
func (h *Host) enter() (leave func(), err error) {
	home, err := os.Open(ownNamespace)
	if err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	there, err := os.Open(filepath.Join(namespaces, h.namespace))
	if err != nil {
		_ = home.Close()
		return nil, fmt.Errorf("hosts: %w", err)
	}
	defer func() { _ = there.Close() }()
	runtime.LockOSThread()
	leave = func() {
		defer func() { _ = home.Close() }()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			// Others would run on the host, and the thread can't be ended instead:
			// the programs that it started would be killed with it.
			panic(fmt.Sprintf("hosts: setns from %s: %v", h.namespace, err))
		}
		runtime.UnlockOSThread()
	}
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		leave()
		return nil, fmt.Errorf("hosts: setns to %s: %w", h.namespace, err)
	}
	return leave, nil
}
