package gossip

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// BenchmarkIdle has one node be idle for a minute among others, and says what
// that costs it: bytes of UDP payload, and CPU, in which the sending of what it
// hears is counted too, though the others pay for that. The clock isn't waited
// for, but all else is real: loopback sockets, keys, and looking for interfaces.
// One address family is used; with both, as by default, it is twice as much.
func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			in := newIdle(b, n)
			in.minute() // all are new in the first
			sent := in.node.cfg.Stats.SentBytes.Load()
			in.heardBytes = 0
			b.ReportAllocs()
			for b.Loop() {
				in.minute()
			}
			minutes := float64(b.N)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/minutes, "CPU-µs/node-min")
			b.ReportMetric(float64(in.node.cfg.Stats.SentBytes.Load()-sent)/minutes, "sent-B/node-min")
			b.ReportMetric(float64(in.heardBytes)/minutes, "heard-B/node-min")
			if heard := in.node.cfg.Stats.Heard.Load(); heard == 0 || len(in.node.state.places) != n-1 {
				b.Fatalf("it has heard %d packets and knows %d nodes, want %d", heard, len(in.node.state.places), n-1)
			}
		})
	}
}

// An idle is a node and the others around it.
type idle struct {
	b      *testing.B
	node   *gossiper
	now    time.Time
	others []other
	conn   net.Conn // by which they send

	buf        []byte
	heardBytes int64
}

// An other is one of the other nodes.
type other struct {
	id      instance
	key     cipher.AEAD
	counter uint64
	message message
}

func newIdle(b *testing.B, nodes int) *idle {
	b.Helper()
	s := Strategy{
		Secrets: []string{secretA}, Groups: []string{"233.252.1.197"}, Port: freePort(b), Interface: "127.0.0.1",
	}.withDefaults()
	links, err := s.open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = closeAll(links) })
	in := &idle{b: b, now: time.Now(), buf: make([]byte, packetBuffer)}
	if in.node, err = newGossiper(s, cluster.NewRoster("127.0.0.1:1", nil, func(cluster.Change) {}), links); err != nil {
		b.Fatal(err)
	}
	in.conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.ParseIP(s.Groups[0]), Port: s.Port})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.conn.Close() })
	for i := range nodes - 1 {
		o := other{message: message{
			cluster: s.Cluster, nodes: []cluster.Node{cluster.Node(fmt.Sprintf("127.0.0.1:%d", i+2))}, heard: []mention{{instance: in.node.me, period: 1}},
		}}
		binary.BigEndian.PutUint64(o.id[:], uint64(i+1))
		sealers, err := in.node.keys.sealers(o.id)
		if err != nil {
			b.Fatal(err)
		}
		o.key = sealers[0]
		in.others = append(in.others, o)
	}
	return in
}

func freePort(b *testing.B) int {
	b.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// minute has every other node send a heartbeat each interval, and the node do
// what it has to.
func (in *idle) minute() {
	interval := in.node.cfg.Interval
	for range time.Minute / interval {
		for i := range in.others {
			in.pass(interval / time.Duration(len(in.others)))
			in.hear(&in.others[i])
		}
	}
}

// hear has another one send a packet.
func (in *idle) hear(o *other) {
	o.counter++
	packet := seal(o.key, o.id, o.counter, o.message)
	if _, err := in.conn.Write(packet); err != nil {
		in.b.Fatal(err)
	}
	o.message.heard = nil // the first proves it
	in.heardBytes += int64(len(packet))
	in.take()
}

// take takes one packet from the socket, as the reader and the loop do.
func (in *idle) take() {
	n, from, err := in.node.links[0].receive(in.buf)
	if err != nil {
		in.b.Fatal(err)
	}
	h, err := parseHeader(in.buf[:n])
	if err != nil {
		in.b.Fatal(err)
	}
	if h.instance != in.node.me {
		in.node.take(in.now, packet{buf: in.buf, size: n, header: h, from: from})
	}
}

// pass has time pass, and the node do what is due in it.
func (in *idle) pass(d time.Duration) {
	end := in.now.Add(d)
	for {
		due := earlier(in.node.state.next(), in.node.refreshAt())
		if due.After(end) {
			in.now = end
			return
		}
		in.now = later(in.now, due)
		in.act()
	}
}

// act does what is due, and hears what that sends.
func (in *idle) act() {
	in.node.refresh(in.b.Context(), in.now)
	before := in.node.cfg.Stats.Sent.Load()
	in.node.act(in.now)
	for range in.node.cfg.Stats.Sent.Load() - before {
		in.take()
	}
}
