package mesh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/libcluster-go/cluster/transport"
)

// streams starts a linked pair, of which b listens for a service.
func streams(t *testing.T, change func(*Config)) (a, b *Mesh, l net.Listener) {
	t.Helper()
	a, b = listen(t, change), listen(t, change)
	connect(t, a, b)
	l, err := b.ListenService("s")
	if err != nil {
		t.Fatal(err)
	}
	return a, b, l
}

// pair opens one stream, and returns both its ends.
func pair(t *testing.T, a, b *Mesh, l net.Listener) (dialled, accepted net.Conn) {
	t.Helper()
	dialled, err := a.Dial(t.Context(), b.Self(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// TestStreamIsAConn: it does all that net.Conn promises. A tls.Conn doesn't, as a
// write that has timed out ends its writing, so that is left to the next test.
func TestStreamIsAConn(t *testing.T) {
	t.Parallel()
	a, b, l := streams(t, insecurely)
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		if c1, err = a.Dial(context.Background(), b.Self(), "s"); err != nil {
			return nil, nil, nil, err
		}
		if c2, err = l.Accept(); err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { _, _ = c1.Close(), c2.Close() }, nil
	})
}

// TestStreamDeadlines: a read that timed out can be tried again, a write waits no
// longer than told, and Close ends both.
func TestStreamDeadlines(t *testing.T) {
	a, b, l := streams(t, nil)
	c1, c2 := pair(t, a, b, l)
	for range 3 {
		_ = c1.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c1.Read(make([]byte, 1)); !isTimeout(err) {
			t.Fatalf("read: %v, want a timeout", err)
		}
	}
	_ = c1.SetReadDeadline(time.Time{})
	if _, err := c2.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := c1.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("after the deadline is lifted: %d bytes, %v", n, err)
	}
	_ = c1.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	var err error
	for err == nil {
		_, err = c1.Write(make([]byte, 1<<20)) // which nobody reads
	}
	if !isTimeout(err) {
		t.Errorf("write: %v, want a timeout", err)
	}
	ended := make(chan error, 1)
	go func() { _, err := c2.Read(make([]byte, 1<<20)); ended <- err }()
	_ = c1.Close()
	_ = c2.Close()
	<-ended
}

// TestStreamEnds: half of it can be closed, and its addresses are the nodes.
func TestStreamEnds(t *testing.T) {
	a, b, l := streams(t, nil)
	c1, c2 := pair(t, a, b, l)
	for _, end := range []struct {
		conn          net.Conn
		local, remote transport.Node
	}{{c1, a.Self(), b.Self()}, {c2, b.Self(), a.Self()}} {
		if l, r := end.conn.LocalAddr(), end.conn.RemoteAddr(); l.String() != string(end.local) || r.String() != string(end.remote) || l.Network() != "mesh" {
			t.Errorf("from %s to %s, want %s to %s", l, r, end.local, end.remote)
		}
	}
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = c1.Write(sent)
		if err := c1.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(c2)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	both.Go(func() {
		_, _ = c2.Write(sent[:1000]) // the other half is open still
		_ = c2.Close()
	})
	if got, err := io.ReadAll(c1); err != nil || !bytes.Equal(got, sent[:1000]) {
		t.Errorf("back: %d bytes, %v", len(got), err)
	}
	both.Wait()
}

func TestDialRefusals(t *testing.T) {
	a, b, l := streams(t, nil)
	stranger := listen(t, nil)
	tests := []struct {
		name    string
		node    transport.Node
		service string
		prepare func()
		check   func(error) bool
	}{
		{"no such service", b.Self(), "other", nil, refusedWith(CodeNoService)},
		{"no link", stranger.Self(), "s", nil, is(ErrNoNode)},
		{"itself", a.Self(), "s", nil, is(transport.ErrSelf)},
		{"no name", b.Self(), "", nil, is(ErrSubject)},
		{"another instance", b.Self(), "s", func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			other := *a.byAddr[b.Self().Addr()].hello
			other.instance[0]++
			a.byAddr[b.Self().Addr()].hello = &other
		}, refusedWith(CodeOtherInstance)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prepare != nil {
				tt.prepare()
			}
			conn, err := a.Dial(t.Context(), tt.node, tt.service)
			var ne *NodeError
			if conn != nil || !tt.check(err) || !errors.As(err, &ne) || ne.Op != "dial" || ne.Node != tt.node {
				t.Errorf("got %v, %v", conn, err)
			}
		})
	}
	_ = l.Close()
}

// TestDialAheadOfTheOtherSide: who decides is up first, and may dial at once.
func TestDialAheadOfTheOtherSide(t *testing.T) {
	const handshake = 4 * time.Second
	tests := []struct {
		name   string
		before func(b *Mesh, p *peer) // the link is up on b; mu is held
		after  func(b *Mesh, p *peer)
		want   func(error) bool
		within time.Duration
	}{
		{
			"begin has not come", func(_ *Mesh, p *peer) { p.up = false },
			func(b *Mesh, p *peer) { p.up = true; b.changed.Ring() }, is(nil), 0,
		},
		{
			"nor has the welcome", func(b *Mesh, p *peer) { b.working(1); delete(b.peers, p.hello.instance) },
			func(b *Mesh, p *peer) { b.peers[p.hello.instance] = p; b.changed.Ring(); b.working(-1) }, is(nil), 0,
		},
		{
			"the handshake fails", func(b *Mesh, p *peer) { b.working(1); delete(b.peers, p.hello.instance) },
			func(b *Mesh, _ *peer) { b.working(-1) }, refusedWith(CodeNoLink), 0,
		},
		{"it never begins", func(_ *Mesh, p *peer) { p.up = false }, nil, refusedWith(CodeNoLink), handshake / 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				change := func(c *Config) { c.HandshakeTimeout = handshake }
				a, b := net.listen(t, 0, change), net.listen(t, 1, change)
				connect(t, a, b)
				if _, err := b.ListenService("s"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				b.mu.Lock()
				p := b.peers[a.self.instance]
				tt.before(b, p)
				b.mu.Unlock()
				defer func() { // for Close
					b.mu.Lock()
					defer b.mu.Unlock()
					p.up, b.peers[p.hello.instance] = true, p
				}()
				began, dialled := time.Now(), make(chan error, 1)
				go func() { _, err := a.Dial(t.Context(), b.Self(), "s"); dialled <- err }()
				synctest.Wait()
				if len(dialled) > 0 {
					t.Fatalf("Dial doesn't wait: %v", <-dialled)
				}
				b.mu.Lock()
				if tt.after != nil {
					tt.after(b, p)
				}
				b.mu.Unlock()
				if err := <-dialled; !tt.want(err) || time.Since(began) != tt.within {
					t.Errorf("%v after %s, want it after %s", err, time.Since(began), tt.within)
				}
			})
		})
	}
}

// TestDialNoLink: with no link on its way, a stream is refused at once.
func TestDialNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a, b := net.listen(t, 0, nil), net.listen(t, 1, nil)
		connect(t, a, b)
		b.mu.Lock()
		p := b.peers[a.self.instance]
		delete(b.peers, a.self.instance)
		b.mu.Unlock()
		defer func() { // for Close
			b.mu.Lock()
			defer b.mu.Unlock()
			b.peers[a.self.instance] = p
		}()
		began := time.Now()
		if _, err := a.Dial(t.Context(), b.Self(), "s"); !refusedWith(CodeNoLink)(err) || time.Since(began) > 0 {
			t.Errorf("%v after %s, want code %s at once", err, time.Since(began), CodeNoLink)
		}
	})
}

// TestDialHungUp: an end in the midst of the handshake is told as Connect tells it.
func TestDialHungUp(t *testing.T) {
	a := listen(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	_, err = a.dialStream(t.Context(), target{addr: l.Addr().String()}, nil, &peer{hello: &hello{}}, "s")
	if !errors.Is(err, ErrHungUp) {
		t.Errorf("got %v, want %v", err, ErrHungUp)
	}
	_ = l.Close()
	<-done
}

// TestServices: a name is taken once, at most 128 streams wait, and a listener
// that is closed takes them along.
func TestServices(t *testing.T) {
	a, b, l := streams(t, nil)
	if _, err := b.ListenService("s"); !errors.Is(err, ErrServiceTaken) {
		t.Errorf("twice: %v, want ErrServiceTaken", err)
	}
	var waiting []net.Conn
	for range streamBacklog {
		c, err := a.Dial(t.Context(), b.Self(), "s")
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	if _, err := a.Dial(t.Context(), b.Self(), "s"); !refusedWith(CodeOverloaded)(err) {
		t.Errorf("one more: %v, want code %s", err, CodeOverloaded)
	}
	kept, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial(t.Context(), b.Self(), "s")
	if err != nil {
		t.Fatalf("after one was accepted: %v", err)
	}
	accepted := make(chan error, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { _, err := l.Accept(); accepted <- err }()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close again: %v", err)
	}
	if _, err := kept.Write([]byte("!")); err != nil {
		t.Error(err)
	}
	open := 0 // whichever was accepted: they come from a goroutine each
	for _, c := range append(waiting, c) {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			open++
		}
	}
	if open != 1 {
		t.Errorf("%d streams are open still, want the one that was accepted", open)
	}
	again, err := b.ListenService("s")
	if err != nil {
		t.Fatal(err)
	}
	pair(t, a, b, again)
}

// TestStreamsEndWithTheirInstance: and not merely because the link is lost.
func TestStreamsEndWithTheirInstance(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, net *fakeNet, a, b *Mesh)
		ends bool
	}{
		{"lost", func(_ *testing.T, _ *fakeNet, _, b *Mesh) { breakLinks(b) }, false},
		{"disconnected here", func(t *testing.T, _ *fakeNet, a, b *Mesh) { t.Helper(); _ = a.Disconnect(t.Context(), b.Self()) }, true},
		{"disconnected there", func(t *testing.T, _ *fakeNet, a, b *Mesh) { t.Helper(); _ = b.Disconnect(t.Context(), a.Self()) }, true},
		{"left", func(_ *testing.T, _ *fakeNet, _, b *Mesh) { _ = b.Close() }, true},
		{"evicted", func(_ *testing.T, _ *fakeNet, a, _ *Mesh) {
			_ = a.SetSecrets([]string{nextSecret})
			time.Sleep(proveWithin + time.Second)
		}, true},
		{"another instance has its address", func(t *testing.T, net *fakeNet, a, b *Mesh) {
			t.Helper()
			breakLinks(b)
			_ = b.listener.Close()
			connect(t, net.listen(t, 1, nil), a)
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				quietly := func(c *Config) { c.ForgetAfter = -1 } // nothing links them again
				a, b := net.listen(t, 0, quietly), net.listen(t, 1, quietly)
				connect(t, a, b)
				l, err := b.ListenService("s")
				if err != nil {
					t.Fatal(err)
				}
				c, _ := pair(t, a, b, l)
				tt.end(t, net, a, b)
				const wait = time.Second
				began := time.Now()
				_ = c.SetReadDeadline(began.Add(wait))
				_, err = c.Read(make([]byte, 1))
				if ended := time.Since(began) < wait; ended != tt.ends {
					t.Errorf("read: %v after %s, want it ended: %v", err, time.Since(began), tt.ends)
				}
				_ = c.Close()
			})
		})
	}
}

// TestACutIsNoEnd: the other end of a stream that was cut doesn't take what it has
// got for all.
func TestACutIsNoEnd(t *testing.T) {
	for name, change := range map[string]func(*Config){"secret": nil, "insecure": insecurely} {
		t.Run(name, func(t *testing.T) {
			a, b, l := streams(t, change)
			c1, c2 := pair(t, a, b, l)
			if _, err := c1.Write([]byte("half of it")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c2, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			a.mu.Lock()
			a.endStreams(func(*hello) bool { return true })
			a.mu.Unlock()
			if _, err := c2.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read: %v, want another error than io.EOF", err)
			}
		})
	}
}

// TestACutSaysWhy: it doesn't look like the user's own Close, nor the other way
// round.
func TestACutSaysWhy(t *testing.T) {
	tests := []struct {
		name string
		end  func(a, b *Mesh, c1, c2 net.Conn)
		want error
		node bool // it is a NodeError
	}{
		{"the peer is disconnected", func(a, b *Mesh, _, _ net.Conn) { _ = a.Disconnect(context.Background(), b.Self()) }, ErrDown, true},
		{"this mesh is closed", func(a, _ *Mesh, _, _ net.Conn) { _ = a.Close() }, ErrClosed, true},
		{"closed here", func(_, _ *Mesh, c1, _ net.Conn) { _ = c1.Close() }, net.ErrClosed, false},
		{"closed after a cut", func(a, b *Mesh, c1, _ net.Conn) {
			_ = a.Disconnect(context.Background(), b.Self())
			_ = c1.Close()
		}, net.ErrClosed, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b, l := streams(t, insecurely)
			c1, c2 := pair(t, a, b, l)
			tt.end(a, b, c1, c2)
			_, readErr := c1.Read(make([]byte, 1))
			_, writeErr := c1.Write([]byte("x"))
			for op, err := range map[string]error{"read": readErr, "write": writeErr} {
				if !errors.Is(err, tt.want) || errors.Is(err, net.ErrClosed) == tt.node {
					t.Errorf("%s: %v, want %v", op, err, tt.want)
				}
				if ne, ok := errors.AsType[*NodeError](err); ok != tt.node || ok && (ne.Op != op || ne.Node != b.Self()) {
					t.Errorf("%s: %v, want it of %s", op, err, b.Self())
				}
			}
		})
	}
}

// TestAnEndBeforeACut: what has ended in order stays so.
func TestAnEndBeforeACut(t *testing.T) {
	a, b, l := streams(t, nil)
	c1, c2 := pair(t, a, b, l)
	_ = c2.Close()
	for _, when := range []string{"before", "after"} {
		if _, err := c1.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read %s the cut: %v, want io.EOF", when, err)
		}
		_ = a.Disconnect(t.Context(), b.Self())
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// TestHTTPOverStreams: what takes a net.Listener and a dial func runs unchanged.
func TestHTTPOverStreams(t *testing.T) {
	a, b, l := streams(t, nil)
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" asked by "+r.RemoteAddr)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return a.Dial(ctx, b.Self(), "s")
	}}
	resp, err := (&http.Client{Transport: transport}).Get("http://service/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if want := "service asked by " + string(a.Self()); err != nil || string(body) != want {
		t.Errorf("got %q, %v; want %q", body, err, want)
	}
	transport.CloseIdleConnections()
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// TestStreamsGoOnlyWhereAllowed: a peer that has dialled this node may say that it
// is anywhere.
func TestStreamsGoOnlyWhereAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		asked := 0
		a := net.listen(t, 0, func(c *Config) {
			c.AllowAddr = func(netip.AddrPort) bool { asked++; return false }
		})
		b := net.listen(t, 1, nil)
		connect(t, b, a)
		time.Sleep(time.Second)
		before := time.Now()
		if _, err := a.Dial(t.Context(), b.Self(), "db"); !errors.Is(err, ErrNotAllowed) || asked == 0 {
			t.Errorf("got %v, and AllowAddr was asked %d times", err, asked)
		}
		if dials := net.dialled(before); len(dials) > 0 {
			t.Errorf("it has dialled %+v", dials)
		}
	})
}

// TestNobodyOpensForAnother: a member, as whoever holds a stolen secret is, can't
// open a stream in the name of another, though it knows all instances.
func TestNobodyOpensForAnother(t *testing.T) {
	t.Parallel()
	a, b, thief := listen(t, nil), listen(t, nil), listen(t, nil)
	connect(t, a, b)
	connect(t, thief, a)
	if _, err := a.ListenService("db"); err != nil {
		t.Fatal(err)
	}
	linkOf := func(m *Mesh, with *Mesh) *link {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.peers[with.self.instance].active
	}
	theirs, its := linkOf(b, a), linkOf(thief, a)
	open := func(from *Mesh, id linkID, ekm []byte) error {
		raw, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		s, _, err := thief.meetHost(t.Context(), raw, kindStream, "127.0.0.1", thief.prover.Load().keys[0], func(*hello) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		o := &opening{from: from.self.instance, to: a.self.instance, link: id, service: "db"}
		copy(o.proof[:], openProof(ekm, s.ekm))
		if err := writeFrame(s.conn, frameOpen, o.encode()); err != nil {
			t.Fatal(err)
		}
		return s.awaitWelcome(t.Context(), func() bool { return true })
	}
	for _, tt := range []struct {
		name string
		from *Mesh
		id   linkID
		ekm  []byte
		ok   bool
	}{
		{"its own", thief, its.id, its.ekm, true},
		{"another's name", b, its.id, its.ekm, false},
		{"another's link", b, theirs.id, its.ekm, false},
		{"no proof", b, theirs.id, nil, false},
	} {
		if err := open(tt.from, tt.id, tt.ekm); tt.ok && err != nil || !tt.ok && !refusedWith(CodeNoLink)(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestAStreamsReaderTakesItsTime: it reads nothing for longer than the kernel waits
// for a host that has vanished, and then all.
func TestAStreamsReaderTakesItsTime(t *testing.T) {
	t.Parallel()
	a, b, l := streams(t, nil)
	from, to := pair(t, a, b, l)
	const total = 32 << 20
	wrote := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, total))
		wrote <- errors.Join(err, from.Close())
	}()
	time.Sleep(vanishAfter + 3*time.Second)
	n, err := io.Copy(io.Discard, to)
	if err := errors.Join(err, <-wrote); err != nil || n != total {
		t.Errorf("%d bytes of %d: %v", n, total, err)
	}
}
