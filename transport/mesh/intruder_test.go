package mesh

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// An intruder is a member that keeps to no rule: it speaks the frames by hand.
type intruder struct {
	t    *testing.T
	mesh *Mesh // whose secret and TLS it has
	hello
}

// newIntruder has a greater instance than anybody, so that the other side
// decides.
func newIntruder(t *testing.T) *intruder {
	t.Helper()
	m := listen(t, nil)
	i := &intruder{t: t, mesh: m, hello: *m.self}
	for b := range i.instance {
		i.instance[b] = 0xff
	}
	i.node, i.addrs = "127.0.0.1:1", []string{"127.0.0.1:1"}
	return i
}

// prove opens a connection and proves the secret, and says no more.
func (i *intruder) prove(m *Mesh) (net.Conn, error) {
	i.t.Helper()
	raw, err := net.Dial("tcp", m.Addr().String())
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = raw.Close() })
	s, err := i.mesh.secure(i.t.Context(), raw, i.mesh.tls, tls.Client)
	if err == nil {
		err = i.mesh.is(s, kindLink)
	}
	if err != nil {
		return nil, err
	}
	_, err = i.mesh.prove(s, i.mesh.prover.Load().keys[0])
	return s.conn, err
}

// link makes one link more.
func (i *intruder) link(m *Mesh, id byte) (net.Conn, error) {
	i.t.Helper()
	conn, err := i.prove(m)
	if err != nil {
		return nil, err
	}
	if err := writeFrame(conn, frameHello, []byte{id, 0, 0, 0, 0, 0, 0, 1}, i.encode()); err != nil {
		return nil, err
	}
	_, _, err = readFrame(conn, maxRefuse)
	return conn, err
}

// TestLinksOfAPairAreBounded: a member that never lets one go holds a few.
func TestLinksOfAPairAreBounded(t *testing.T) {
	m, i := listen(t, nil), newIntruder(t)
	for n := range byte(4 * maxPairLinks) {
		if _, err := i.link(m, n+1); err != nil {
			t.Fatal(err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.links); n > maxPairLinks+1 {
		t.Errorf("%d links are held", n)
	}
}

// TestProvedHandshakesAreBounded: as those are that have proved nothing.
func TestProvedHandshakesAreBounded(t *testing.T) {
	const limit = 8
	m, i := listen(t, func(c *Config) { c.MaxHandshakes = limit }), newIntruder(t)
	for range 4 * limit {
		_, _ = i.prove(m) // it may be turned out already
	}
	m.waiting.mu.Lock()
	defer m.waiting.mu.Unlock()
	if n := len(m.waiting.guests); n > limit {
		t.Errorf("%d handshakes are open, MaxHandshakes is %d", n, limit)
	}
}

// TestNothingIsDeliveredAfterADisconnect: though the peer goes on sending.
func TestNothingIsDeliveredAfterADisconnect(t *testing.T) {
	var handled atomic.Int64
	m := listen(t, func(c *Config) {
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) { handled.Add(1) }}
	})
	i := newIntruder(t)
	conn, err := i.link(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(conn, frameBegin, encodeBegin(linkID{}, 1)); err != nil {
		t.Fatal(err)
	}
	say := func() error { return writeFrame(conn, frameMessage, []byte{1}, []byte("s"), []byte("data")) }
	for handled.Load() == 0 {
		if err := say(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Disconnect(t.Context(), i.node); err != nil {
		t.Fatal(err)
	}
	m.handlers.idleFor(t)
	before := handled.Load()
	for say() == nil { // until the connection is closed
	}
	m.handlers.idleFor(t)
	if n := handled.Load() - before; n > 0 {
		t.Errorf("%d messages are handled after Disconnect", n)
	}
}

// idleFor waits until nothing that was queued is left.
func (h *handlers) idleFor(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestFramesOutOfTurn: a message before begin breaks the protocol.
func TestFramesOutOfTurn(t *testing.T) {
	m, i := listen(t, nil), newIntruder(t)
	conn, err := i.link(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(conn, frameMessage, []byte{1}, []byte("s")); err != nil {
		t.Fatal(err)
	}
	until(t, m, "the link ends", func() bool { return linkCount(m) == 0 })
}

// TestMaxPeersHoldsInACrowd: all have passed the handshake's own check.
func TestMaxPeersHoldsInACrowd(t *testing.T) {
	t.Parallel()
	const crowd = 5
	m := listen(t, func(c *Config) { insecurely(c); c.MaxPeers = 1 })
	var checked, done sync.WaitGroup
	checked.Add(crowd)
	for n := range crowd {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := *m.self
		h.instance = instanceID{byte(n + 1)}
		h.node = transport.Node(l.Addr().String())
		h.addrs = []string{string(h.node)}
		done.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _, _ = readFrame(c, 1+proofSize)
			_ = writeFrame(c, frameAnswer, make([]byte, proofSize), h.encode())
			_, _, _ = readFrame(c, maxHello)
			checked.Done()
			checked.Wait()
			_ = writeFrame(c, frameWelcome)
			_, _, _ = readFrame(c, maxHello) // until it is begun or closed
		})
		done.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = m.dial(ctx, target{addr: string(h.node)}, nil)
			_ = l.Close()
			m.mu.Lock()
			defer m.mu.Unlock()
			if n := len(m.peers); n > 1 {
				t.Errorf("%d peers with MaxPeers 1", n)
			}
		})
	}
	done.Wait()
}

// TestWhoReadsNothingIsGivenUp: what is told of others waits within bounds.
func TestWhoReadsNothingIsGivenUp(t *testing.T) {
	o := outbox{limit: 1000, buffers: &writeBuffers{}, write: func([]byte) { select {} }, shut: func() {}, start: func(func()) {}}
	frames := 0
	for o.order(framePeers, make([]byte, 1000)) {
		if frames++; frames > 2*maxOrdered/1000 {
			t.Fatal("the queue has no bound")
		}
	}
	if frames < maxOrdered/1000/2 {
		t.Errorf("the bound is reached after %d KB", frames)
	}
}

// TestAConflictTakesItsTime: who has no time to wait for the holder's answer
// doesn't take its place.
func TestAConflictTakesItsTime(t *testing.T) {
	for _, patience := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
		t.Run(patience.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				a, b := net.listen(t, 0, nil), net.listen(t, 1, nil)
				connect(t, a, b)
				c := net.listen(t, 2, func(c *Config) { c.Advertise = "10.0.0.2 " + b.Self().Addr() })
				events := a.Events(t.Context())
				cutOff(net, a, b)
				time.AfterFunc(400*time.Millisecond, net.heal) // what b's answer takes
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := a.dial(ctx, target{addr: c.Self().Addr()}, nil); err == nil {
					t.Error("the newcomer is linked")
				}
				time.Sleep(time.Second)
				for <-events; len(events) > 0; {
					t.Errorf("the holder flaps: %+v", <-events)
				}
			})
		})
	}
}

// TestDisconnectOfALostPeer: it isn't looked for any more.
func TestDisconnectOfALostPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a := net.listen(t, 0, nil)
		b := net.listen(t, 1, func(c *Config) { c.ForgetAfter = -1 })
		connect(t, a, b)
		cutOff(net, a, b)
		time.Sleep(30 * time.Second)
		if err := a.Disconnect(t.Context(), b.Self()); err != nil {
			t.Fatal(err)
		}
		net.heal()
		time.Sleep(10 * time.Minute)
		if peerCount(a) != 0 {
			t.Error("the mesh itself has linked it again")
		}
	})
}

// TestACallerByNameIsTheOwner: of whoever is behind the name.
func TestACallerByNameIsTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a := net.listen(t, 0, func(c *Config) { c.Resolver = names{"web": {hostIP(1)}} })
		b := net.listen(t, 1, func(c *Config) { c.ForgetAfter = -1 })
		call := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = a.Connect(ctx, "web:4370")
			<-ctx.Done()
		}
		call()
		cutOff(net, a, b)
		for range 20 {
			call()
			time.Sleep(lostPauseMax)
		}
		since, calls := time.Now(), 20
		for range calls {
			call()
			time.Sleep(lostPauseMax)
		}
		if n := len(net.dialled(since)); n != calls {
			t.Errorf("%d dials for %d calls: the mesh dials, too", n, calls)
		}
		net.heal()
	})
}

// TestDisconnectDuringAHandshake: one that began before doesn't bring the node
// back.
func TestDisconnectDuringAHandshake(t *testing.T) {
	m, i := listen(t, nil), newIntruder(t)
	if _, err := i.link(m, 1); err != nil {
		t.Fatal(err)
	}
	until(t, m, "it is linked", func() bool { return peerCount(m) == 1 })
	l, err := m.newLink(&session{conn: deadConn(t), key: m.prover.Load().keys[0]}, linkID{2}, false)
	if err != nil {
		t.Fatal(err)
	}
	l.unasked = true
	if err := m.Disconnect(t.Context(), i.node); err != nil {
		t.Fatal(err)
	}
	if refusal := m.admit(l, &i.hello); refusal == nil || refusal.Code != CodeUnwanted {
		t.Errorf("admitted: %v, want code %s", refusal, CodeUnwanted)
	}
	m.abandon(l)
}

// deadConn is one end of a pipe that nobody uses.
func deadConn(t *testing.T) net.Conn {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a
}

// TestEvictionIsInTime: however long a heartbeat is.
func TestEvictionIsInTime(t *testing.T) {
	for _, heartbeat := range []time.Duration{defaultHeartbeat, 5 * time.Minute} {
		t.Run(heartbeat.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				var last atomic.Int64
				a := net.listen(t, 0, func(c *Config) {
					c.Heartbeat = heartbeat
					c.Handlers = map[string]Handler{"s": func(context.Context, Message) { last.Store(time.Now().UnixNano()) }}
				})
				thief := net.listen(t, 1, nil)
				connect(t, thief, a)
				time.Sleep(1234 * time.Millisecond)
				began := time.Now()
				if err := a.SetSecrets([]string{nextSecret}); err != nil {
					t.Fatal(err)
				}
				for time.Since(began) < time.Minute {
					_ = thief.Send(t.Context(), a.Self(), "s", nil)
					time.Sleep(10 * time.Millisecond)
				}
				if d := time.Unix(0, last.Load()).Sub(began); d > proveWithin || d < proveWithin/2 {
					t.Errorf("the thief is heard for %s after SetSecrets", d)
				}
			})
		})
	}
}

// TestOneKindOfLogHidesNoOther: though it is caused by many addresses.
func TestOneKindOfLogHidesNoOther(t *testing.T) {
	var r repeater
	now := time.Now()
	for i := range 10_000 {
		r.due("proof", fmt.Sprint("place ", i), now)
	}
	if _, ok := r.due("claims", "another", now); !ok {
		t.Error("it is hidden")
	}
	if n := len(r.seen); n > 2*repeatKinds {
		t.Errorf("%d lines are remembered", n)
	}
}

// TestANameIsVerifiedWhoeverDialled: a link that the other side made doesn't give
// it a name that its certificate isn't good for.
func TestANameIsVerifiedWhoeverDialled(t *testing.T) {
	ours := newAuthority(t)
	a := listen(t, func(c *Config) {
		certified(ours.config(t, "a"))(c)
		c.Resolver = names{"web": loopbackOnly(), "evil": loopbackOnly()}
	})
	evil := listen(t, certified(ours.config(t, "evil")))
	name := func(host string) transport.Node {
		return transport.Node(strings.Replace(string(evil.Self()), "127.0.0.1", host, 1))
	}
	for _, linked := range []bool{false, true} {
		if linked {
			connect(t, evil, a)
		}
		if err := a.Connect(t.Context(), name("web")); !refusedWith(CodeTLS)(err) {
			t.Errorf("linked %v: %v, want code %s", linked, err, CodeTLS)
		}
	}
	if err := a.Connect(t.Context(), name("evil")); err != nil {
		t.Errorf("by its own name: %v", err)
	}
	if got := a.Canonical(name("web")); len(got) > 0 {
		t.Errorf("it goes by a name that isn't its own: %v", got)
	}
}
