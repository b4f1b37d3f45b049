package mesh

import (
	"crypto/tls"
	"net"
	"time"
)

// vanishAfter is when the kernel gives up a host that no longer answers: by
// probes on a link that is idle, and where it can, by TCP_USER_TIMEOUT on one
// that isn't.
const vanishAfter = 5 * time.Second

// maxUnsent is how many bytes of a link may wait in the kernel that weren't sent
// yet: more don't make it faster, and a small message waits behind them.
const maxUnsent = 128 << 10

// tune sets what the mesh wants of a TCP connection. All of it is best effort:
// what a system doesn't know, the mesh's own pings find out later.
func tune(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: vanishAfter - 3*time.Second, Interval: time.Second, Count: 3,
	})
	setUserTimeout(c, vanishAfter)
}

// tuneLink sets what a link wants besides, which a stream doesn't: what it says
// in small goes between the parts of what is large.
func tuneLink(conn net.Conn) {
	if c, ok := rawConn(conn).(*net.TCPConn); ok {
		setUnsent(c, maxUnsent)
	}
}

// stuckAfter is how long a write may take before it is looked into.
const stuckAfter = time.Second

// spare keeps the kernel from giving up a peer whose host answers, but which reads
// nothing: TCP_USER_TIMEOUT counts that, too, and to judge it is the mesh's own
// part, by DownAfter. The caller holds mu.
func (l *link) spare(now time.Duration) {
	c, ok := rawConn(l.conn).(*net.TCPConn)
	if !ok {
		return
	}
	began := time.Duration(l.writing.Load())
	spared := began > 0 && now-began > stuckAfter && takesNothing(c)
	if spared == l.spared {
		return
	}
	if l.spared = spared; spared {
		setUserTimeout(c, 0)
	} else {
		setUserTimeout(c, vanishAfter)
	}
}

// rawConn is what lies below TLS.
func rawConn(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*exactConn); ok {
		conn = c.Conn
	}
	return conn
}
