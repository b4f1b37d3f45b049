package mesh

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// answers reports whether the other host does, whatever its process does: it has
// acknowledged all that was sent, or something of late.
func answers(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if controlErr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); controlErr != nil || err != nil {
		return false
	}
	const probes = 2 // to see whether there is room again; one may be on its way
	return info.Unacked == 0 && info.Probes < probes ||
		time.Duration(info.Last_ack_recv)*time.Millisecond < vanishAfter/2
}
