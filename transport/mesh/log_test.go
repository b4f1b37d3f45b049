package mesh

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
)

// A logBook keeps what is logged, and may do something at every line.
type logBook struct {
	slog.Handler
	each func()

	mu  *sync.Mutex
	out *bytes.Buffer
}

func newLogBook(each func()) *logBook {
	b := &logBook{each: each, mu: &sync.Mutex{}, out: &bytes.Buffer{}}
	b.Handler = slog.NewTextHandler(b.out, &slog.HandlerOptions{Level: slog.LevelDebug})
	return b
}

func (b *logBook) Handle(ctx context.Context, r slog.Record) error {
	if b.each != nil {
		b.each()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Handler.Handle(ctx, r)
}

// lines counts the lines with all of the parts.
func (b *logBook) lines(parts ...string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
lines:
	for l := range strings.Lines(b.out.String()) {
		for _, p := range parts {
			if !strings.Contains(l, p) {
				continue lines
			}
		}
		n++
	}
	return n
}

// TestRefusalsAreLoggedOnce: whatever comes to the port is refused, logged once
// a kind, and changes nothing for the others.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	const times = 3
	logs := newLogBook(nil)
	a := listen(t, func(c *Config) { c.Logger = slog.New(logs) })
	good := listen(t, nil)
	connect(t, good, a)
	events := a.Events(t.Context())
	<-events // the snapshot

	secret := listen(t, func(c *Config) { c.Secrets = []string{"another horse battery staple"} })
	cluster := listen(t, func(c *Config) { c.Cluster = "other" })
	for range times {
		for _, m := range []*Mesh{secret, cluster} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if m.Connect(ctx, a.Self()) == nil {
				t.Error("a stranger is let in")
			}
			cancel()
		}
		sayAndRead(t, a, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		sayAndRead(t, a, "\x00\x01\x02 garbage")
	}
	select {
	case e := <-events:
		t.Errorf("a peer is touched: %+v", e)
	default:
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cause := range []string{ErrProof.Error(), `(cluster)`, ErrProtocol.Error()} {
		if n := logs.lines("refused a connection", cause); n != 1 {
			t.Errorf("%q is logged %d times, want once:\n%s", cause, n, logs.out)
		}
	}
}

// sayAndRead says something to the port, and reads until it is closed.
func sayAndRead(t *testing.T, m *Mesh, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", m.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(text))
	for b := make([]byte, 256); err == nil; {
		_, err = conn.Read(b)
	}
}

// TestALoggerMayCallTheMesh: it runs under no lock.
func TestALoggerMayCallTheMesh(t *testing.T) {
	var m *Mesh
	ready := make(chan struct{})
	logs := newLogBook(func() {
		<-ready
		_ = m.Peers()
		_ = m.Disconnect(context.Background(), "10.0.0.1:1")
		_ = m.Handle("s", nil)
	})
	m = listen(t, func(c *Config) { c.Logger = slog.New(logs) })
	close(ready)
	connect(t, m, listen(t, nil))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"peer up", "peer down"} {
		if logs.lines(line) != 1 {
			t.Errorf("%q isn't logged:\n%s", line, logs.out)
		}
	}
}
