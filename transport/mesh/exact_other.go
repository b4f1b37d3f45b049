//go:build !unix

package mesh

import "net"

// filler returns nil: only where reads can be tried without waiting, a link can
// wait without a buffer. Elsewhere crypto/tls reads as ever.
func filler(net.Conn) func(*exactBuffers) (*readBuffer, int, error) { return nil }

// pushTo returns nil: there is no exactConn to use it.
func pushTo(net.Conn) func([]byte) (int, error) { return nil }
