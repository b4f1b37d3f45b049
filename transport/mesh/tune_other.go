//go:build !linux

package mesh

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT.
func setUserTimeout(*net.TCPConn, time.Duration) {}

// setUnsent does nothing: few systems besides Linux have TCP_NOTSENT_LOWAT.
func setUnsent(*net.TCPConn, int) {}

// answers is asked only where setUserTimeout does something.
func answers(*net.TCPConn) bool { return false }
