// Two nodes of these tests agree on a key by X25519 alone, as the handshakes are most
// of what the tests cost. TestTwoNodesTalk is by the hybrid of the default as well.
//
//go:debug tlsmlkem=0

package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster/transport"
)

// Most of the tests that go side by side wait rather than work, so there are more of
// them than processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const testSecret = "correct horse battery staple"

// patience bounds what has to happen; nothing waits for it to pass.
const patience = 30 * time.Second

// listen starts a mesh on a free port of loopback, which ends with the test.
func listen(t *testing.T, change func(*Config)) *Mesh {
	t.Helper()
	cfg := Config{Secrets: []string{testSecret}, Bind: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	m, err := Listen(quiet(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// quiet has nothing logged unless the test wants it.
func quiet(c Config) Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func connect(t *testing.T, a, b *Mesh) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.Connect(ctx, b.Self()); err != nil {
		t.Fatal(err)
	}
	until(t, b, "the other side is up", func() bool { return b.linked(a.self.instance) })
}

// until waits for a change of m that makes ok true.
func until(t *testing.T, m *Mesh, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		changed := m.changed.Wait()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

func peerCount(m *Mesh) int { return len(m.Peers()) }

// nextDown returns the first peer that goes down.
func nextDown(t *testing.T, events <-chan Event) PeerDown {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-events:
			if down, ok := e.(PeerDown); ok {
				return down
			}
		case <-late:
			t.Fatalf("no peer went down in %s", patience)
		}
	}
}

func TestTwoNodesTalk(t *testing.T) {
	tests := []struct {
		name   string
		debug  string
		change func(*Config)
		curve  tls.CurveID // that the key is agreed on by; zero: there is none
	}{
		{"by default", "tlsmlkem=1", func(*Config) {}, tls.X25519MLKEM768},
		{"as these tests do", "", func(*Config) {}, tls.X25519},
		{"insecure", "", insecurely, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GODEBUG", tt.debug)
			got := make(chan Message, 1)
			a := listen(t, tt.change)
			b := listen(t, func(c *Config) {
				tt.change(c)
				c.Name, c.Meta = "bob", map[string]string{"zone": "z1"}
				c.Handlers = map[string]Handler{"greet": func(_ context.Context, m Message) { got <- m }}
			})
			connect(t, a, b)
			if err := a.Send(t.Context(), b.Self(), "greet", []byte("hello")); err != nil {
				t.Fatal(err)
			}
			m := <-got
			if m.From != a.Self() || m.Subject != "greet" || string(m.Data) != "hello" {
				t.Errorf("got %+v from %s", m, a.Self())
			}
			until(t, a, "the peer is described", func() bool { return peerCount(a) == 1 })
			p := a.Peers()[0]
			if p.Node != b.Self() || p.Node.Name() != "bob" || p.Meta["zone"] != "z1" || !p.Dialled || p.Instance != b.self.instance.String() {
				t.Errorf("peer: %+v", p)
			}
			if curve := curveOf(a, b); curve != tt.curve {
				t.Errorf("the key is agreed on by %s, want %s", curve, tt.curve)
			}
		})
	}
}

// curveOf is what the key of a's link with b was agreed on by.
func curveOf(a, b *Mesh) tls.CurveID {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.peers[b.self.instance].active.conn.(*tls.Conn); ok {
		return c.ConnectionState().CurveID
	}
	return 0
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		check  func(error) bool
	}{
		{"another secret", func(c *Config) { c.Secrets = []string{"another horse battery staple"} }, is(ErrProof)},
		{"another cluster", func(c *Config) { c.Cluster = "other" }, refusedWith(CodeCluster)},
		{"no TLS", func(c *Config) { c.Secrets, c.Insecure = nil, true }, func(err error) bool { return err != nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, good, stranger := listen(t, nil), listen(t, nil), listen(t, tt.change)
			connect(t, good, a)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := stranger.Connect(ctx, a.Self()); !tt.check(err) {
				t.Errorf("the stranger dials: %v", err)
			}
			if err := a.Connect(ctx, stranger.Self()); !tt.check(err) {
				t.Errorf("the stranger is dialled: %v", err)
			}
			if n := peerCount(a); n != 1 {
				t.Errorf("%d peers, want the good one alone", n)
			}
		})
	}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func refusedWith(code Code) func(error) bool {
	return func(err error) bool {
		var re *RefusedError
		return errors.As(err, &re) && re.Code == code
	}
}

func TestSecretsRotate(t *testing.T) {
	const next = "a secret of the second generation"
	both := listen(t, func(c *Config) { c.Secrets = []string{next, testSecret} })
	connect(t, both, listen(t, nil)) // its first secret is refused, and the second tried
	connect(t, listen(t, nil), both)
	connect(t, listen(t, func(c *Config) { c.Secrets = []string{next} }), both)
}

func TestNeverLinksToItself(t *testing.T) {
	m := listen(t, nil)
	if err := m.Connect(t.Context(), m.Self()); !errors.Is(err, transport.ErrSelf) {
		t.Errorf("by its own address: %v", err)
	}
	// A relay hides that the address leads back, and the handshake tells.
	r := startRelay(t, m.Addr().String(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.dial(ctx, target{addr: r.addr()}, nil); !errors.Is(err, transport.ErrSelf) {
		t.Errorf("by a relay: %v", err)
	}
}

func TestLeftLostUnwanted(t *testing.T) {
	tests := []struct {
		name     string
		end      func(a, b *Mesh)
		want     Reason
		departed bool
	}{
		{"closed", func(_, b *Mesh) { _ = b.Close() }, ReasonLeft, true},
		{"disconnected there", func(a, b *Mesh) { _ = b.Disconnect(context.Background(), a.Self()) }, ReasonUnwanted, true},
		{"disconnected here", func(a, b *Mesh) { _ = a.Disconnect(context.Background(), b.Self()) }, ReasonUnwanted, true},
		{"broken", func(_, b *Mesh) { breakLinks(b) }, ReasonLost, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := listen(t, nil), listen(t, nil)
			events := a.Events(t.Context())
			connect(t, a, b)
			tt.end(a, b)
			if down := nextDown(t, events); down.Reason != tt.want || down.Peer.Node != b.Self() {
				t.Errorf("down: %+v, want reason %s", down, tt.want)
			}
			if got := a.Departed(b.Self()); got != tt.departed {
				t.Errorf("Departed = %v, want %v", got, tt.departed)
			}
			if err := a.Send(t.Context(), b.Self(), "s", nil); !errors.Is(err, ErrNoNode) {
				t.Errorf("Send: %v, want ErrNoNode", err)
			}
		})
	}
}

// breakLinks cuts the connections without a word, as a crash would.
func breakLinks(m *Mesh) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		for _, l := range p.links {
			raw := l.conn
			if c, ok := raw.(interface{ NetConn() net.Conn }); ok {
				raw = c.NetConn()
			}
			_ = raw.Close()
		}
	}
}

// TestRestartUnderOneAddress: a new instance at the same address is another
// node, which comes up after the first went down.
func TestRestartUnderOneAddress(t *testing.T) {
	tests := []struct {
		name string
		end  func(b *Mesh) // makes room on the port
		want Reason
	}{
		{"it left", func(b *Mesh) { _ = b.Close() }, ReasonLeft},
		{"it crashed", crash, ReasonLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := listen(t, nil), listen(t, nil)
			events := a.Events(t.Context())
			connect(t, a, b)
			tt.end(b)
			again := listen(t, func(c *Config) { c.Bind = b.Self().Addr() })
			connect(t, again, a)
			if down := nextDown(t, events); down.Reason != tt.want || down.Peer.Instance != b.self.instance.String() {
				t.Errorf("down: %+v, want reason %s", down, tt.want)
			}
			if p := a.Peers(); len(p) != 1 || p[0].Instance != again.self.instance.String() {
				t.Errorf("peers: %+v", p)
			}
		})
	}
}

// crash ends a mesh as a kill of its process would: without a word.
func crash(m *Mesh) {
	_ = m.listener.Close()
	breakLinks(m)
}

// TestANewcomerReplacesWhoDoesntAnswer: a host that vanished doesn't hold its
// address against the next.
func TestANewcomerReplacesWhoDoesntAnswer(t *testing.T) {
	t.Parallel()
	a, b := listen(t, nil), listen(t, nil)
	events := a.Events(t.Context())
	var frozen sync.RWMutex
	r := startRelay(t, b.Addr().String(), waitFor(&frozen))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.dial(ctx, target{addr: r.addr()}, nil); err != nil {
		t.Fatal(err)
	}
	frozen.Lock()
	defer frozen.Unlock()
	next := listen(t, func(c *Config) { c.Advertise = b.Self().Addr() })
	connect(t, next, a)
	if down := nextDown(t, events); down.Reason != ReasonReplaced || down.Peer.Instance != b.self.instance.String() {
		t.Errorf("down: %+v, want reason %s", down, ReasonReplaced)
	}
	if p := a.Peers(); len(p) != 1 || p[0].Instance != next.self.instance.String() {
		t.Errorf("peers: %+v", p)
	}
}

func TestAddressConflict(t *testing.T) {
	a, first := listen(t, nil), listen(t, nil)
	connect(t, a, first)
	second := listen(t, func(c *Config) { c.Advertise = first.Self().Addr() })
	events := a.Events(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 3 {
		err := second.Connect(ctx, a.Self())
		if !refusedWith(CodeAddressConflict)(err) || !strings.Contains(err.Error(), first.self.instance.String()) ||
			!strings.Contains(err.Error(), second.self.instance.String()) {
			t.Fatalf("the second is told: %v", err)
		}
	}
	if p := a.Peers(); len(p) != 1 || p[0].Instance != first.self.instance.String() {
		t.Errorf("peers: %+v", p)
	}
	<-events // the snapshot
	select {
	case e := <-events:
		t.Errorf("the first flapped: %+v", e)
	default:
	}
}

// TestFormsWithOneHandshakeAPair: fifty nodes that all know each other.
func TestFormsWithOneHandshakeAPair(t *testing.T) {
	const n = 50
	meshes := make([]*Mesh, n)
	for i := range meshes {
		meshes[i] = listen(t, func(c *Config) { // a busy machine is nobody's silence
			c.HandshakeTimeout, c.Heartbeat, c.DownAfter = 3*patience, 3*patience, 6*patience
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var dialers sync.WaitGroup
	start := make(chan struct{})
	for _, a := range meshes {
		for _, b := range meshes {
			if a != b {
				dialers.Go(func() {
					<-start
					if err := a.Connect(ctx, b.Self()); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	close(start)
	dialers.Wait()
	total := int64(0)
	for _, m := range meshes {
		until(t, m, "the mesh is full", func() bool { return peerCount(m) == n-1 && linkCount(m) == n-1 })
		total += m.Stats().Handshakes
	}
	pairs := int64(n * (n - 1) / 2)
	t.Logf("%d handshakes for %d pairs", total, pairs)
	if total*10 > pairs*11 {
		t.Error("that is more than 1.1 times as many")
	}
}

func TestSilentPeerGoesDown(t *testing.T) {
	a := listen(t, func(c *Config) { c.Heartbeat, c.DownAfter = 20*time.Millisecond, 200*time.Millisecond })
	b := listen(t, nil)
	events := a.Events(t.Context())
	var frozen sync.RWMutex
	r := startRelay(t, b.Addr().String(), waitFor(&frozen))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.dial(ctx, target{addr: r.addr()}, nil); err != nil {
		t.Fatal(err)
	}
	frozen.Lock() // what has been sent stays on the way
	defer frozen.Unlock()
	if down := nextDown(t, events); down.Reason != ReasonSilent {
		t.Errorf("down: %+v", down)
	}
}

// TestCloseFromAHandler: it says that it doesn't wait for itself, and a second
// call waits for the rest.
func TestCloseFromAHandler(t *testing.T) {
	t.Parallel()
	a, b := listen(t, nil), listen(t, nil)
	closed := make(chan error, 1)
	if err := b.Handle("close", func(context.Context, Message) { closed <- b.Close() }); err != nil {
		t.Fatal(err)
	}
	connect(t, a, b)
	if err := a.Send(t.Context(), b.Self(), "close", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; !errors.Is(err, ErrHandlerBusy) || !strings.Contains(err.Error(), `"close"`) {
		t.Errorf("Close: %v, want ErrHandlerBusy and the subject", err)
	}
	if err := b.Connect(t.Context(), a.Self()); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect after Close: %v, want ErrClosed", err)
	}
	if err := b.Send(t.Context(), a.Self(), "s", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: %v, want ErrClosed", err)
	}
	if err := b.Broadcast(t.Context(), "s", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Broadcast after Close: %v, want ErrClosed", err)
	}
}

// TestAResetIsNotAnotherProtocol: a node that is killed in a handshake speaks
// the protocol.
func TestAResetIsNotAnotherProtocol(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reset := make(chan struct{})
	go func() {
		defer close(reset)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it is one
		_ = c.Close()
	}()
	err = listen(t, nil).Connect(t.Context(), transport.Node(l.Addr().String()))
	if err == nil || errors.Is(err, ErrProtocol) {
		t.Errorf("got %v, want an error that isn't ErrProtocol", err)
	}
	_ = l.Close()
	<-reset
}
