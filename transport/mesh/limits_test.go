package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

func TestMaxPeers(t *testing.T) {
	full := listen(t, func(c *Config) { c.MaxPeers, c.NoPeerExchange = 2, true })
	for range 2 {
		connect(t, listen(t, nil), full)
	}
	more := listen(t, nil)
	if err := more.Connect(t.Context(), full.Self()); !refusedWith(CodeFull)(err) {
		t.Errorf("it is dialled: %v, want code %s", err, CodeFull)
	}
	if err := full.Connect(t.Context(), more.Self()); !refusedWith(CodeFull)(err) {
		t.Errorf("it dials: %v, want code %s", err, CodeFull)
	}
	full.Disconnect(t.Context(), full.Peers()[0].Node)
	connect(t, more, full)
}

// TestHandshakeTime: neither side waits longer than told for one that is silent.
func TestHandshakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3 * time.Second
		net := newFakeNet()
		m := net.listen(t, 0, func(c *Config) { c.HandshakeTimeout = limit })
		began := time.Now()
		conn, err := net.connect(t.Context(), hostIP(1), m.Self().Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
		if took := time.Since(began); took != limit {
			t.Errorf("a silent dialler is closed after %s, want %s", took, limit)
		}
		const host = transport.Node("10.0.0.2:2") // of the two, m dials first
		silent, err := net.open(host.Addr())
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan io.Closer, 1)
		go func() {
			c, _ := silent.Accept()
			accepted <- c
		}()
		began = time.Now()
		err = m.Connect(t.Context(), host)
		late, ok := errors.AsType[*NodeError](err)
		if took := time.Since(began); !errors.Is(err, ErrHandshakeTime) || !ok || late.Node != host || took != limit {
			t.Errorf("a silent acceptor: %v after %s, want ErrHandshakeTime of %s after %s", err, took, host, limit)
		}
		_ = (<-accepted).Close()
		_ = conn.Close()
	})
}

// TestHungUp: a dialler is told that the other end has closed the connection
// before anything was said, as one does that has no room for its handshake.
func TestHungUp(t *testing.T) {
	full, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	go func() {
		for {
			conn, err := full.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	n := transport.Node(full.Addr().String())
	err = listen(t, nil).Connect(t.Context(), n)
	if refused, ok := errors.AsType[*NodeError](err); !errors.Is(err, ErrHungUp) || !ok || refused.Node != n {
		t.Errorf("got %v, want ErrHungUp of %s", err, n)
	}
}

func TestTooLarge(t *testing.T) {
	const limit = 1000
	small := func(c *Config) { c.MaxMessage = limit }
	a, b := listen(t, nil), listen(t, small)
	connect(t, a, b)
	if err := b.Send(t.Context(), a.Self(), "s", make([]byte, limit)); err != nil {
		t.Errorf("Send of as much as may be: %v", err)
	}
	if err := b.Send(t.Context(), a.Self(), "s", make([]byte, limit+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Send: %v, want ErrTooLarge", err)
	}
	if err := b.Broadcast(t.Context(), "s", make([]byte, limit+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Broadcast: %v, want ErrTooLarge", err)
	}
	// A peer that sends more all the same breaks the protocol.
	events := b.Events(t.Context())
	if err := a.Send(t.Context(), b.Self(), "s", make([]byte, limit+1000)); err != nil {
		t.Fatal(err)
	}
	if down := nextDown(t, events); down.Reason != ReasonLost {
		t.Errorf("down: %+v", down)
	}
}

// TestQueueFull: a peer that reads no more holds a bounded part of what is sent,
// and the sender's wait ends with its context.
func TestQueueFull(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	var frozen sync.RWMutex
	r := startRelay(t, b.Addr().String(), waitFor(&frozen))
	if err := a.dial(t.Context(), target{addr: r.addr()}, nil); err != nil {
		t.Fatal(err)
	}
	frozen.Lock()
	defer frozen.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var err error
	for err == nil {
		err = a.Send(ctx, b.Self(), "s", make([]byte, 64<<10))
	}
	if !errors.Is(err, ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send: %v, want ErrQueueFull and the context's cause", err)
	}
	var ne *NodeError
	if !errors.As(err, &ne) || ne.Node != b.Self() || ne.Op != "send" {
		t.Errorf("Send: %#v, want a NodeError", err)
	}
	l := a.peers[b.self.instance].active
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	if n := len(l.out.messages); n > 2*a.cfg.SendQueue+64<<10 {
		t.Errorf("%d bytes are queued; Config.SendQueue is %d", n, a.cfg.SendQueue)
	}
}

// guestFrom enters the room with a connection from an address.
func guestFrom(t *testing.T, w *waitingRoom, addr string) *guest {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	ip := netip.MustParseAddr(addr)
	return w.enter(&fakeConn{
		Conn: ours, net: newFakeNet(), remote: netip.AddrPortFrom(ip, 1), local: netip.AddrPortFrom(ip, 2),
		done: make(chan struct{}),
	})
}

// TestTheBusiestPlaceMakesRoom: when the room is full, the oldest of the place
// that has most goes; an IPv6 network of 64 bits is one place.
func TestTheBusiestPlaceMakesRoom(t *testing.T) {
	tests := []struct {
		name   string
		guests []string
		goes   int
	}{
		{"the oldest of the busiest", []string{"10.0.0.9", "10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3"}, 1},
		{"all are alike", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}, 0},
		{"a network", []string{"10.0.0.1", "2001:db8::1", "2001:db8:0:1::1", "2001:db8::2", "10.0.0.2"}, 1},
		{"the same, mapped", []string{"10.0.0.2", "::ffff:10.0.0.1", "10.0.0.1", "10.0.0.3", "10.0.0.4"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &waitingRoom{limit: len(tt.guests) - 1}
			var guests []*guest
			for _, addr := range tt.guests {
				guests = append(guests, guestFrom(t, w, addr))
			}
			for i, g := range guests {
				if gone := g.conn.(*fakeConn).closed(); gone != (i == tt.goes) { //nolint:forcetypeassert // it is one
					t.Errorf("guest %d from %s: gone %v, want number %d to go", i, tt.guests[i], gone, tt.goes)
				}
			}
		})
	}
}

// TestAPlaceIsSlowed: so many at once, then so many a second; those who prove
// themselves don't count, and another place is not slowed.
func TestAPlaceIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waitingRoom{limit: 10_000}
		turns := make(chan *guest, 10_000)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		enter := func(addr string) {
			g := guestFrom(t, w, addr)
			go func() {
				if w.turn(ctx, g) == nil {
					turns <- g
				}
			}()
		}
		for range 2000 {
			enter("10.0.0.1")
		}
		synctest.Wait()
		if n := len(turns); n != guestsAtOnce {
			t.Errorf("%d have their turn at once, want %d", n, guestsAtOnce)
		}
		enter("10.0.0.2")
		synctest.Wait()
		if n := len(turns); n != guestsAtOnce+1 {
			t.Error("another place is slowed, too")
		}
		time.Sleep(2 * time.Second)
		if n, most := len(turns)-guestsAtOnce-1, 2*guestsPerSecond; n > most || n < most*3/4 {
			t.Errorf("%d have theirs in 2 s, want about %d", n, most)
		}
		const proved = 100
		for range proved {
			w.proved(<-turns)
		}
		time.Sleep(time.Second)
		if n, most := len(turns)+proved-guestsAtOnce-1, 3*guestsPerSecond+proved; n > most || n < most*3/4 {
			t.Errorf("%d have theirs in 3 s in which %d were proved, want about %d", n, proved, most)
		}
		cancel()
		synctest.Wait()
	})
}

// TestPlacesAreForgotten: an attacker has many IPv6 networks.
func TestPlacesAreForgotten(t *testing.T) {
	w := &waitingRoom{limit: 10}
	for i := range 10 * maxPlaces {
		w.leave(guestFrom(t, w, fmt.Sprintf("2001:db8:%x:%x::1", i>>12, i&0xfff)))
	}
	if n := len(w.places); n > maxPlaces {
		t.Errorf("%d places are remembered, more than %d", n, maxPlaces)
	}
}

// TestAFloodFromNextDoor: a good node gets in though the flood comes from its
// own address.
func TestAFloodFromNextDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 2000
		net := newFakeNet()
		m, good := net.listen(t, 0, nil), net.listen(t, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		flood.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.connect(ctx, good.listen.Addr(), m.Self().Addr())
				if err != nil {
					return
				}
				flood.Go(func() {
					_, _ = io.Copy(io.Discard, conn) // until it is closed there
					_ = conn.Close()
				})
				time.Sleep(time.Second / perSecond)
			}
		})
		time.Sleep(2 * time.Second)
		began := time.Now()
		err := errors.New("not tried")
		for err != nil && time.Since(began) < time.Minute {
			err = good.Connect(t.Context(), m.Self())
		}
		if took := time.Since(began); err != nil || took > 20*time.Second {
			t.Errorf("the good node is in after %s: %v", took, err)
		} else {
			t.Logf("in after %s", took)
		}
		cancel()
		_ = m.Close()
		flood.Wait()
	})
}
