package mesh

import (
	"net"
	"time"
)

// vanishAfter is when the kernel gives up a host that no longer answers: by
// probes on a link that is idle, and where it can, by TCP_USER_TIMEOUT on one
// that isn't.
const vanishAfter = 5 * time.Second

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
