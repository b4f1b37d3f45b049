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

// A grace is whether the kernel is kept from giving up a peer whose host answers,
// though nothing is read there: TCP_USER_TIMEOUT counts that, too. On a link it is
// the mesh's own part to judge that, by DownAfter, and on a stream the user's. The
// mesh's mu guards it.
type grace bool

// look decides anew.
func (g *grace) look(conn net.Conn) {
	c, ok := rawConn(conn).(*net.TCPConn)
	if !ok || grace(answers(c)) == *g {
		return
	}
	if *g = !*g; *g {
		setUserTimeout(c, 0)
	} else {
		setUserTimeout(c, vanishAfter)
	}
}

// lookAfterStreams gives grace to the streams that need it. The caller holds mu.
func (m *Mesh) lookAfterStreams() {
	for s := range m.streams {
		s.grace.look(s.Conn)
	}
}

// lookAfter gives grace to a link that needs it: one on which something was
// written, and nothing has come since.
func (l *link) lookAfter() {
	if l.written.Load() > l.heard.Load() {
		l.grace.look(l.conn)
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
