package gossip

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/windows"
)

// TestIsTooLong tells a packet that is too long from other failures.
func TestIsTooLong(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a long packet": {&net.OpError{Op: "read", Err: os.NewSyscallError("wsarecvfrom", windows.WSAEMSGSIZE)}, true},
		"a reset":       {&net.OpError{Op: "read", Err: os.NewSyscallError("wsarecvfrom", windows.WSAECONNRESET)}, false},
		"the end":       {net.ErrClosed, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tooLong(tt.err); got != tt.want {
				t.Errorf("tooLong(%v) is %t", tt.err, got)
			}
		})
	}
}
