package gossip_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"
)

// TestFlood has 100,000 bad packets of four kinds, which all were counted, neither
// grow memory nor keep a good node from being found while they come.
func TestFlood(t *testing.T) {
	const bad = 100_000
	s := onLoopback(t)
	s.Stats = new(gossip.Stats)
	var known, failed atomic.Bool
	roster := cluster.NewRoster("127.0.0.1:4370", nil, func(c cluster.Change) {
		if c.Kind == cluster.Failed {
			failed.Store(true)
		}
		if slices.Contains(c.Nodes, "127.0.0.1:4371") {
			known.Store(true)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Run(ctx, roster); err != nil {
			t.Errorf("Run returns %v", err)
		}
	})
	defer done.Wait()
	defer cancel()

	dropped := func() int64 {
		return s.Stats.Malformed.Load() + s.Stats.Forged.Load() + s.Stats.Repeated.Load()
	}
	flood := newFlood(t, s)
	flood.until(func() bool { return dropped() >= bad/2 })
	before := heap()
	newCrowd(t, s, "127.0.0.1:4371")
	flood.until(func() bool { return known.Load() && dropped() >= bad }) // it never pauses meanwhile
	after := heap()
	for range 100 { // garbage of what is being dropped still
		after = min(after, heap())
	}
	if after > before+1<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
	if failed.Load() {
		t.Error("a flood is taken for a failure")
	}
	t.Logf("malformed %d, forged %d, repeated %d, taken %d", s.Stats.Malformed.Load(), s.Stats.Forged.Load(), s.Stats.Repeated.Load(), s.Stats.Heard.Load())
}

// TestTooLong has packets that are too long be counted, and not end the Run,
// however many come in a row.
func TestTooLong(t *testing.T) {
	const many = 1000
	s := onLoopback(t)
	s.Stats = new(gossip.Stats)
	newCrowd(t, s, "127.0.0.1:4370")
	flood := newFlood(t, s)
	flood.kinds = []func() []byte{func() []byte { return make([]byte, 1400) }}
	for began := time.Now(); s.Stats.Malformed.Load() < many && time.Since(began) < 10*time.Second; {
		flood.send(1)
	}
	if n := s.Stats.Malformed.Load(); n < many {
		t.Errorf("%d packets are counted, want %d", n, many)
	}
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A flood sends packets that are no good.
type flood struct {
	t     *testing.T
	conn  net.Conn
	kinds []func() []byte
}

func newFlood(t *testing.T, s gossip.Strategy) *flood {
	t.Helper()
	group := &net.UDPAddr{IP: net.ParseIP(s.Groups[0]), Port: s.Port}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	random := rand.NewChaCha8([32]byte{1})
	noise := func(b []byte) []byte {
		_, _ = random.Read(b)
		return b
	}
	recorded := record(t, s)
	changed := bytes.Clone(recorded)
	return &flood{t: t, conn: conn, kinds: []func() []byte{
		func() []byte { return noise(make([]byte, 200)) },
		func() []byte { return append([]byte("clg\x01S"), noise(make([]byte, 200))...) },
		func() []byte { noise(changed[len(changed)-16:]); return changed },
		func() []byte { return recorded },
	}}
}

// record hears a packet of a node of the cluster that is not there any more.
func record(t *testing.T, s gossip.Strategy) []byte {
	t.Helper()
	group := &net.UDPAddr{IP: net.ParseIP(s.Groups[0]), Port: s.Port}
	loopback, err := net.InterfaceByName(loopbackName(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", loopback, group)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dead := newCrowd(t, s, "127.0.0.1:4379")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 2000)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	dead.set()
	return buf[:n]
}

func loopbackName(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && strings.HasPrefix(i.Name, "lo") {
			return i.Name
		}
	}
	t.Fatal("this machine has no loopback interface")
	return ""
}

// send sends n packets, as fast as it can.
func (f *flood) send(n int) {
	f.t.Helper()
	for i := range n {
		if _, err := f.conn.Write(f.kinds[i%len(f.kinds)]()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// until sends as fast as it can until that is so, which must be within a minute.
func (f *flood) until(so func() bool) {
	f.t.Helper()
	for began := time.Now(); !so(); f.send(100) {
		if time.Since(began) > time.Minute {
			f.t.Fatal("the flood goes on, and too few packets are dropped or the good node isn't found")
		}
	}
}
