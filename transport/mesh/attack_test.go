package mesh

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// An attacker reaches the port, and knows no secret. It speaks the protocol with
// a certificate of its own, as any node of a mesh of secrets does.
type attacker struct {
	t   *testing.T
	tls *tls.Config
}

func newAttacker(t *testing.T) *attacker {
	t.Helper()
	c, err := secretTLS()
	if err != nil {
		t.Fatal(err)
	}
	return &attacker{t, c}
}

// dial opens a connection and does the TLS handshake.
func (a *attacker) dial(m *Mesh) *tls.Conn {
	a.t.Helper()
	raw, err := net.Dial("tcp", m.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = raw.Close() })
	conn := tls.Client(raw, a.tls)
	if err := conn.Handshake(); err != nil {
		a.t.Fatal(err)
	}
	return conn
}

// accept takes one connection that is dialled, whose dialler's error is sent to
// the channel in the end.
func (a *attacker) accept(m *Mesh) (*tls.Conn, <-chan error) {
	a.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() { dialled <- m.dial(context.Background(), target{addr: l.Addr().String()}, nil) }()
	raw, err := l.Accept()
	if err != nil {
		a.t.Fatal(err)
	}
	_ = l.Close()
	a.t.Cleanup(func() { _ = raw.Close() })
	conn := tls.Server(raw, a.tls)
	if err := conn.Handshake(); err != nil {
		a.t.Fatal(err)
	}
	return conn, dialled
}

// wantRefused reads the fixed refusal without a reason, after which the
// connection ends.
func wantRefused(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	kind, payload, err := readFrame(conn, maxHello)
	if err != nil || kind != frameRefuse || !bytes.Equal(payload, []byte{0, 0}) {
		t.Errorf("%s: type %d with %q, %v; want the fixed refusal", what, kind, payload, err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("%s: the connection goes on: %v", what, err)
	}
}

// proofOf reads the frame that a dialler begins with.
func proofOf(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	kind, payload, err := readFrame(conn, 1+proofSize)
	if err != nil || kind != frameProof {
		t.Fatalf("type %d, %v; want a proof", kind, err)
	}
	return payload
}

// TestARelayCantJoin: one that ends TLS on both sides passes every frame on, and
// is refused, since the proofs are bound to the connections.
func TestARelayCantJoin(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	evil := newAttacker(t)
	fromA, dialled := evil.accept(a)
	toB := evil.dial(b)
	var relay sync.WaitGroup
	for _, pair := range [][2]*tls.Conn{{fromA, toB}, {toB, fromA}} {
		relay.Go(func() {
			_, _ = io.Copy(pair[1], pair[0])
			_ = pair[1].Close()
		})
	}
	if err := <-dialled; !errors.Is(err, ErrProof) {
		t.Errorf("the dialler: %v, want ErrProof", err)
	}
	relay.Wait()
	if peerCount(a)+peerCount(b) > 0 {
		t.Error("the relay has joined them")
	}
}

// TestAReplayIsRefused: neither the bytes of a connection nor the proof inside
// are good for another.
func TestAReplayIsRefused(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	var recorded lockedBytes
	r := startRecorder(t, b.Addr().String(), nil, recorded.write)
	if err := a.dial(t.Context(), target{addr: r.addr()}, nil); err != nil {
		t.Fatal(err)
	}
	until(t, b, "the honest link is up", func() bool { return peerCount(b) == 1 })
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(recorded.bytes()); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn) // until it is closed

	evil := newAttacker(t)
	fromA, _ := evil.accept(a)
	proof := proofOf(t, fromA)
	toB := evil.dial(b)
	if err := writeFrame(toB, frameProof, proof); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "a proof of another connection", toB)
	if n := peerCount(b); n != 1 {
		t.Errorf("%d peers, want the honest one", n)
	}
}

// TestAReflectedProofIsRefused: a dialler's own proof doesn't answer it, and an
// acceptor's own dial doesn't prove anything to it.
func TestAReflectedProofIsRefused(t *testing.T) {
	a := listen(t, nil)
	evil := newAttacker(t)
	fromA, dialled := evil.accept(a)
	proof := proofOf(t, fromA)
	if err := writeFrame(fromA, frameAnswer, proof[1:], a.self.encode()); err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; !errors.Is(err, ErrProof) {
		t.Errorf("the dialler: %v, want ErrProof", err)
	}
	toA := evil.dial(a)
	if err := writeFrame(toA, frameProof, proof); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "its own proof", toA)
}

// TestBeforeAProofNothingIsSaid: whoever knows no secret doesn't learn who is
// there.
func TestBeforeAProofNothingIsSaid(t *testing.T) {
	a := listen(t, func(c *Config) { c.Name, c.HandshakeTimeout = "a-secret-name", 200*time.Millisecond })
	tests := map[string]func(conn *tls.Conn){
		"a wrong proof": func(c *tls.Conn) {
			_ = writeFrame(c, frameProof, append([]byte{byte(kindLink)}, make([]byte, proofSize)...))
		},
		"a short proof":   func(c *tls.Conn) { _ = writeFrame(c, frameProof, []byte{byte(kindLink)}) },
		"another kind":    func(c *tls.Conn) { _ = writeFrame(c, frameProof, append([]byte{'S'}, make([]byte, proofSize)...)) },
		"a hello at once": func(c *tls.Conn) { _ = writeFrame(c, frameHello, []byte("hello")) },
	}
	for name, say := range tests {
		t.Run(name, func(t *testing.T) {
			conn := newAttacker(t).dial(a)
			say(conn)
			wantRefused(t, name, conn)
		})
	}
	t.Run("silence", func(t *testing.T) {
		conn := newAttacker(t).dial(a)
		if b, _ := io.ReadAll(conn); len(b) > 0 {
			t.Errorf("it says %q", b)
		}
	})
}

type lockedBytes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBytes) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(b)
}

func (l *lockedBytes) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// TestAnInstanceCantBeTaken: a member that knows another's instance, which
// peers frames tell everybody, doesn't get its messages.
func TestAnInstanceCantBeTaken(t *testing.T) {
	ca := newAuthority(t)
	verify := func(s tls.ConnectionState, n transport.Node) error {
		return s.PeerCertificates[0].VerifyHostname(n.Name())
	}
	node := func(name string) *Mesh {
		return listen(t, func(c *Config) {
			certified(ca.config(t, name))(c)
			c.Name, c.VerifyPeer, c.NoPeerExchange = name, verify, true
		})
	}
	a, b, c := node("a"), node("b"), node("c")
	a.self.instance = instanceID{1} // a decides
	connect(t, b, a)
	c.self.instance = b.self.instance // c lies; its certificate and name are its own
	_ = c.dial(t.Context(), target{addr: a.Self().Addr()}, nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.peers[b.self.instance].active
	if got := l.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames[0]; got != "b" {
		t.Errorf("what is sent to b goes to %s", got)
	}
}

// TestControlFramesAreBounded: a peer that asks and doesn't read the answers.
func TestControlFramesAreBounded(t *testing.T) {
	o := outbox{limit: 1000, buffers: &writeBuffers{}, start: func(func()) {}} // nothing is ever written
	for range 100_000 {
		o.urge(frameReproof, make([]byte, maxSecrets*proofSize)) // as the reader does at each challenge
	}
	if n := len(o.control); n > 2*maxControl || n == 0 {
		t.Errorf("%d bytes of answers are queued", n)
	}
}

// TestANameIsPaidFor: a claim of a name that has many addresses.
func TestANameIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ips []netip.Addr
		for i := range 1000 {
			ips = append(ips, netip.AddrFrom4([4]byte{10, 9, byte(i / 200), byte(i%200 + 1)}))
		}
		net := newFakeNet()
		m := net.listen(t, 0, func(c *Config) { c.Resolver = names{"evil.example": ips} })
		liar := net.listen(t, 1, nil)
		connect(t, liar, m)
		began := time.Now()
		liar.mu.Lock()
		for _, p := range liar.peers {
			for _, f := range encodeClaims([]claim{{true, instance(1), []string{"evil.example:4370"}}}) {
				p.active.out.order(framePeers, f)
			}
		}
		liar.mu.Unlock()
		time.Sleep(5 * time.Second)
		if n := len(net.dialled(began)); n > learnedMost+5*learnedPerSec {
			t.Errorf("%d dials for one claim in 5 s", n)
		}
	})
}
