package mesh

import (
	"net"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h, which package syscall
// lacks: milliseconds that sent data may stay unacknowledged.
const tcpUserTimeout = 18

// tcpNotSentLowat is TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall
// lacks: how many bytes may wait in the kernel that weren't sent yet.
const tcpNotSentLowat = 25

func setUserTimeout(c *net.TCPConn, d time.Duration) {
	setTCPOption(c, tcpUserTimeout, int(d.Milliseconds()))
}

func setUnsent(c *net.TCPConn, bytes int) { setTCPOption(c, tcpNotSentLowat, bytes) }

func setTCPOption(c *net.TCPConn, option, value int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, option, value)
	})
}
