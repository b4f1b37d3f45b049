package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestFlood: a thousand connections that say nothing, a thousand that say
// random bytes and a thousand handshakes with one wrong bit don't keep a good
// node out, take nobody down, and leave nothing behind.
func TestFlood(t *testing.T) {
	const each = 1000
	before := goleak.IgnoreCurrent()
	a, member := listen(t, nil), listen(t, nil)
	connect(t, a, member)
	events := member.Events(t.Context())
	<-events // the snapshot
	idle := runtime.NumGoroutine()
	bad := listen(t, nil)

	silent := make([]net.Conn, 0, each)
	for i := range each {
		silent = append(silent, dialFrom(t, i, a))
	}
	var flood sync.WaitGroup
	under, over := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(under) })
	for w := range 4 {
		flood.Go(func() {
			for i := w; i < each; i += 4 {
				sayRandom(dialFrom(t, i, a))
				sayMutated(bad, dialFrom(t, i, a), i%2 == 0)
				if i > each/10 {
					once()
				}
			}
		})
	}
	go func() { defer close(over); flood.Wait() }()

	<-under
	good := listen(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := good.Connect(ctx, a.Self()); err != nil {
		t.Errorf("the good node: %v", err)
	}
	<-over
	for _, c := range silent {
		_ = c.Close()
	}
	for len(events) > 0 {
		if e, ok := (<-events).(PeerDown); ok {
			t.Errorf("a member's link flapped: %+v", e)
		}
	}
	closeAll := func(meshes ...*Mesh) {
		for _, m := range meshes {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	closeAll(good, bad) // which may be linked: not every wrong bit falls into its handshake
	settles(t, idle)
	closeAll(a, member)
	goleak.VerifyNone(t, before)
}

// settles waits until no more goroutines live than idle: what a connection has
// started ends with that, and not only when the mesh is closed.
func settles(t *testing.T, idle int) {
	t.Helper()
	late := time.After(patience)
	for look := time.NewTicker(10 * time.Millisecond); runtime.NumGoroutine() > idle; {
		select {
		case <-look.C:
		case <-late:
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			t.Fatalf("%d goroutines live, but before the flood there were %d:\n%s", runtime.NumGoroutine(), idle, &stacks)
		}
	}
}

// dialFrom connects from one of 127.0.0.2 to 127.0.0.9 where the OS has them.
func dialFrom(t *testing.T, i int, to *Mesh) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}}
	conn, err := d.DialContext(t.Context(), "tcp", to.Addr().String())
	if err != nil {
		conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", to.Addr().String())
	}
	if err != nil {
		t.Error(err)
		conn, _ = net.Pipe()
		_ = conn.Close()
	}
	return conn
}

func sayRandom(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, mathrand.IntN(2048))
	_, _ = rand.Read(b)
	_, _ = conn.Write(b)
}

// sayMutated shakes hands with one bit of what it says turned over, in the TLS
// records or in the frames inside.
func sayMutated(m *Mesh, raw net.Conn, inside bool) {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(100 * time.Millisecond)) // a wrong length makes both sides wait
	say := raw
	if !inside {
		say = &flipper{Conn: raw, at: mathrand.IntN(2000)}
	}
	conn := tls.Client(say, m.tls)
	if conn.HandshakeContext(context.Background()) != nil {
		return
	}
	ekm, err := exportKey(conn.ConnectionState(), kindLink)
	if err != nil {
		return
	}
	frames := net.Conn(conn)
	if inside {
		frames = &flipper{Conn: conn, at: mathrand.IntN(200)}
	}
	_ = writeFrame(frames, frameProof, []byte{byte(kindLink)}, proof(m.prover.Load().keys[0], 'D', kindLink, ekm, nil))
	if t, _, err := readFrame(conn, proofSize+maxHello); err != nil || t != frameAnswer {
		return
	}
	var id linkID
	_, _ = rand.Read(id[:])
	_ = writeFrame(frames, frameHello, id[:], m.self.encode())
	_ = conn.CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

// A flipper turns over one bit of what is written.
type flipper struct {
	net.Conn
	at int
}

func (f *flipper) Write(b []byte) (int, error) {
	if f.at >= 0 && f.at < len(b) {
		b = append([]byte(nil), b...)
		b[f.at] ^= 1 << mathrand.IntN(8)
	}
	f.at -= len(b)
	return f.Conn.Write(b)
}
