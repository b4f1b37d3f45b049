package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// TestMaxHandshakes: strangers who say nothing take every place that there is
// for handshakes. A good node is let in all the same: one of those who are most
// makes room. Only one that is slow, at an address from which many come
// after it, is turned out in their place, is told so, and is in when it tries
// again.
func TestMaxHandshakes(t *testing.T) {
	const limit, good = 8, 1
	tests := []struct {
		name string
		from func(i int) int // the host of the i-th stranger
		late int             // of the strangers come while the node's handshake goes on
		goes []int           // strangers, in the end
		want error
	}{
		{name: "from elsewhere", from: func(int) int { return 2 }, goes: []int{0}},
		{name: "each from elsewhere", from: func(i int) int { return 2 + i }, goes: []int{0}},
		{name: "from its own address", from: func(int) int { return good }, goes: []int{0}},
		{name: "mostly from elsewhere", from: func(i int) int { return good + min(i%3, 1) }, goes: []int{1}},
		{name: "from elsewhere, while it is slow", from: func(int) int { return 2 }, late: limit, goes: []int{0}},
		{name: "from its own address, while it is slow", from: func(int) int { return good }, late: limit, goes: []int{0}, want: ErrHungUp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				full := net.listen(t, 0, func(c *Config) { c.MaxHandshakes = limit })
				node := net.listen(t, good, nil)
				var s strangers
				defer s.leave()
				node.slow(func() { s.come(t, net, full, tt.late, tt.from) })
				s.come(t, net, full, limit-tt.late, tt.from)
				err := node.Connect(t.Context(), full.Self())
				wanted := err == nil
				if tt.want != nil {
					ne, ok := errors.AsType[*NodeError](err)
					wanted = ok && ne.Op == "connect" && ne.Node == full.Self() && errors.Is(err, tt.want)
				}
				if !wanted {
					t.Errorf("the good node is told %v, want %v", err, tt.want)
				}
				if err = node.Connect(t.Context(), full.Self()); err != nil {
					t.Errorf("when it tries again: %v", err)
				}
				if gone := s.turnedOut(); !slices.Equal(gone, tt.goes) {
					t.Errorf("strangers %v are turned out, want %v", gone, tt.goes)
				}
			})
		})
	}
}

// strangers have connected, and say nothing.
type strangers struct {
	waits sync.WaitGroup
	conns []net.Conn

	mu   sync.Mutex
	gone []int // by their numbers, those whose connection was closed there
}

// come has n of them come one after the other.
func (s *strangers) come(t *testing.T, net *fakeNet, to *Mesh, n int, from func(i int) int) {
	t.Helper()
	for range n {
		i := len(s.conns)
		conn, err := net.connect(t.Context(), hostIP(from(i)), to.Self().Addr())
		if err != nil {
			t.Fatal(err)
		}
		s.conns = append(s.conns, conn)
		s.waits.Go(func() {
			if _, err := io.Copy(io.Discard, conn); err == nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.gone = append(s.gone, i)
			}
		})
		synctest.Wait() // the next comes after this one
	}
}

func (s *strangers) turnedOut() []int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.gone))
}

func (s *strangers) leave() {
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.waits.Wait()
}

// slow has something happen while the mesh's first dial waits for an answer.
func (m *Mesh) slow(happens func()) {
	once := sync.OnceFunc(happens)
	dial := m.network.dial
	m.network.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		return &slowConn{conn, once}, err
	}
}

type slowConn struct {
	net.Conn
	before func()
}

func (c *slowConn) Read(b []byte) (int, error) {
	c.before()
	return c.Conn.Read(b)
}

// TestMembersWhoStallLockNobodyOut: connections that have proved themselves and say
// no more fill the room, and the oldest of them makes way.
func TestMembersWhoStallLockNobodyOut(t *testing.T) {
	const limit = 4
	m, i := listen(t, func(c *Config) { c.MaxHandshakes = limit }), newIntruder(t)
	for range limit {
		if _, err := i.prove(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all have proved themselves", func() bool {
		m.waiting.mu.Lock()
		defer m.waiting.mu.Unlock()
		return len(m.waiting.guests) == limit && !slices.ContainsFunc(m.waiting.guests, func(g *guest) bool { return !g.proved })
	})
	if err := listen(t, nil).Connect(t.Context(), m.Self()); err != nil {
		t.Errorf("a good node: %v", err)
	}
}
