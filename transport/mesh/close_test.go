package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// TestCloseWhileConnecting: a call that is under way ends with the mesh, and
// begins nothing after it.
func TestCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	b := listen(t, nil)
	for i := range 100 {
		a := listen(t, nil)
		var connecting sync.WaitGroup
		for range 4 {
			connecting.Go(func() {
				if err := a.Connect(context.Background(), b.Self()); err != nil && !errors.Is(err, ErrClosed) {
					t.Errorf("Connect: %v, want ErrClosed", err)
				}
			})
		}
		time.Sleep(time.Duration(i) * 50 * time.Microsecond) // so that it meets every part of a handshake
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		connecting.Wait()
	}
}

// resolver is a Resolver of one func.
type resolver func(host string) ([]netip.Addr, error)

func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return r(host)
}

// TestConfigsFuncsMayClose: whoever calls Close from one of them is told, and
// hangs nobody.
func TestConfigsFuncsMayClose(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	tests := []struct {
		name string
		set  func(c *Config, f func())
	}{
		{"Config.Resolver", func(c *Config, f func()) {
			c.Resolver = resolver(func(string) ([]netip.Addr, error) { f(); return nil, errors.New("closed") })
		}},
		{"Config.AllowAddr", func(c *Config, f func()) {
			c.Resolver = names{"web": {netip.MustParseAddr("127.0.0.1")}}
			c.AllowAddr = func(netip.AddrPort) bool { f(); return false }
		}},
		{"Config.VerifyPeer", func(c *Config, f func()) {
			c.VerifyPeer = func(tls.ConnectionState, transport.Node) error { f(); return nil }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var m *Mesh
			closed := make(chan error, 10)
			once := sync.OnceFunc(func() { closed <- m.Close() })
			ready := make(chan struct{})
			m = listen(t, func(c *Config) {
				certified(ours.config(t, "a"))(c)
				tt.set(c, func() { <-ready; once() })
			})
			close(ready)
			c := listen(t, func(c *Config) {
				certified(ours.config(t, "b"))(c)
				c.Advertise, c.NoPeerExchange = "web", true // so that it dials nobody
			})
			b := listen(t, certified(ours.config(t, "c")))
			if err := b.dial(t.Context(), target{addr: c.Addr().String()}, nil); err != nil {
				t.Fatal(err)
			}
			_ = m.Connect(t.Context(), b.Self()) // which tells it of a node with a name
			if err := <-closed; !errors.Is(err, ErrHandlerBusy) || !strings.Contains(err.Error(), tt.name) {
				t.Errorf("Close: %v, want ErrHandlerBusy and %s", err, tt.name)
			}
		})
	}
}

// TestADownTellsOfTheLink: as it was while it was up.
func TestADownTellsOfTheLink(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	events := a.Events(t.Context())
	connect(t, a, b)
	up := a.Peers()[0]
	breakLinks(b)
	if down := nextDown(t, events).Peer; down.RemoteAddr != up.RemoteAddr || down.Dialled != up.Dialled || down.RemoteAddr == "" || !down.Dialled {
		t.Errorf("down: %+v, was %+v", down, up)
	}
}

// TestWhatHandlersDoIsLoggedOnce: panics, and queues that are full.
func TestWhatHandlersDoIsLoggedOnce(t *testing.T) {
	logs := newLogBook(nil)
	b := listen(t, func(c *Config) {
		c.Logger, c.ReceiveQueue = slog.New(logs), 1
		c.Handlers = map[string]Handler{"panics": func(context.Context, Message) { panic("always") }}
	})
	in := inbox{m: b, from: "a:1"}
	var read batch
	for range 1000 {
		in.deliver([]byte("panics"), []byte("data"), 0, &read)
		in.deliver([]byte("panics"), []byte("data"), 0, &read)
		in.flush(&read)
		for len(in.pending("panics")) > 0 { // so that it is full again and again
			time.Sleep(10 * time.Microsecond)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"a handler panicked", "a handler is too slow"} {
		if n := logs.lines(line); n != 1 {
			t.Errorf("%q is logged %d times, want once", line, n)
		}
	}
}

// pending are the messages that wait for a handler.
func (in *inbox) pending(subject string) []item {
	in.mu.Lock()
	defer in.mu.Unlock()
	if q := in.queues[subject]; q != nil {
		return q.items
	}
	return nil
}

// TestCloseWhileStreaming: Dial and Accept end with the mesh, too.
func TestCloseWhileStreaming(t *testing.T) {
	t.Parallel()
	for i := range 50 {
		a, b := listen(t, nil), listen(t, nil)
		connect(t, a, b)
		l, err := b.ListenService("s")
		if err != nil {
			t.Fatal(err)
		}
		var using sync.WaitGroup
		for range 4 {
			using.Go(func() {
				if c, err := a.Dial(context.Background(), b.Self(), "s"); err == nil {
					_ = c.Close()
				}
			})
			using.Go(func() {
				if c, err := l.Accept(); err == nil {
					_ = c.Close()
				}
			})
		}
		using.Go(func() { _ = l.Close() })
		time.Sleep(time.Duration(i) * 50 * time.Microsecond)
		for _, m := range []*Mesh{b, a} {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
		using.Wait()
	}
}
