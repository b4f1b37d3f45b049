package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// metaOf is what m knows of other's metadata.
func metaOf(m, other *Mesh) map[string]string {
	for _, p := range m.Peers() {
		if p.Node == other.Self() {
			return p.Meta
		}
	}
	return nil
}

// TestSetMetaIsSeen: by a peer that is linked, in an event and once for several
// calls; and by one that links later, from the start.
func TestSetMetaIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a := net.listen(t, 0, func(c *Config) { c.Meta = map[string]string{"zone": "z1", "v": "0"} })
		b := net.listen(t, 1, nil)
		connect(t, a, b)
		events := b.Events(t.Context())
		<-events // the snapshot
		time.Sleep(time.Minute)
		changes := func() (metas []map[string]string) {
			synctest.Wait()
			for len(events) > 0 {
				if e, ok := (<-events).(PeerChanged); ok {
					metas = append(metas, e.Peer.Meta)
				}
			}
			return metas
		}
		var last map[string]string
		for i := range 100 {
			last = map[string]string{"v": fmt.Sprint(i)}
			if err := a.SetMeta(last); err != nil {
				t.Fatal(err)
			}
		}
		kept := maps.Clone(last)
		last["v"] = "the caller's own again"
		time.Sleep(newsPauseMax)
		if got := changes(); len(got) != 1 || !maps.Equal(got[0], kept) || !maps.Equal(metaOf(b, a), kept) {
			t.Errorf("the peer sees %v, then %v; want %v", got, metaOf(b, a), kept)
		}
		if s, ok := (<-b.Events(t.Context())).(Snapshot); !ok || !maps.Equal(s.Peers[0].Meta, kept) {
			t.Errorf("the snapshot is %+v", s)
		}
		if err := a.SetMeta(kept); err != nil {
			t.Fatal(err)
		}
		time.Sleep(newsPauseMax)
		if got := changes(); len(got) > 0 {
			t.Errorf("the same again is told: %v", got)
		}
		c := net.listen(t, 2, nil)
		news := c.Events(t.Context())
		<-news
		connect(t, c, a)
		if up, ok := (<-news).(PeerUp); !ok || !maps.Equal(up.Peer.Meta, kept) {
			t.Errorf("one who links later sees %+v", up)
		}
		if err := a.SetMeta(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(newsPauseMax)
		if got := changes(); len(got) != 1 || len(got[0]) > 0 {
			t.Errorf("without metadata, the peer sees %v", got)
		}
	})
}

func TestSetMetaRefuses(t *testing.T) {
	tests := []struct {
		name string
		meta map[string]string
		ok   bool
	}{
		{"as large as can be", map[string]string{"k": strings.Repeat("v", maxMeta-5)}, true},
		{"one byte more", map[string]string{"k": strings.Repeat("v", maxMeta-4)}, false},
		{"many pairs", pairs(maxMeta/9 + 1), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := map[string]string{"v": "before"}
			a := listen(t, func(c *Config) { c.Meta = before })
			b := listen(t, nil)
			err := a.SetMeta(tt.meta)
			if (err == nil) != tt.ok || err != nil && !strings.HasPrefix(err.Error(), "mesh: SetMeta has ") {
				t.Errorf("%v", err)
			}
			want := tt.meta
			if !tt.ok {
				want = before
			}
			connect(t, b, a)
			if got := metaOf(b, a); !maps.Equal(got, want) {
				t.Errorf("the peer sees %d pairs", len(got))
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if err := a.SetMeta(nil); !errors.Is(err, ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// pairs has n pairs of 9 bytes, as they count.
func pairs(n int) map[string]string {
	meta := map[string]string{}
	for i := range n {
		meta[fmt.Sprintf("%05d", i)] = ""
	}
	return meta
}

// TestSetMetaRacesWithLinks: while links come up, cross and are lost, the metadata
// change; in the end everybody has the last.
func TestSetMetaRacesWithLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a := net.listen(t, 0, nil)
		var others []*Mesh
		var racing sync.WaitGroup
		for i := range 40 {
			b := net.listen(t, i+1, func(c *Config) { c.NoPeerExchange = true })
			others = append(others, b)
			racing.Go(func() {
				for j := range 3 {
					from, to := a, b
					if (i+j)%2 == 0 {
						from, to = b, a
					}
					if err := from.dial(t.Context(), target{addr: to.Self().Addr()}, nil); err != nil {
						t.Error(err)
					}
				}
			})
			racing.Go(func() {
				if err := a.SetMeta(map[string]string{"v": fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
			if i%5 == 0 {
				synctest.Wait()
			}
		}
		racing.Wait()
		time.Sleep(2 * newsPauseMax)
		synctest.Wait()
		a.mu.Lock()
		last := maps.Clone(a.meta)
		a.mu.Unlock()
		for _, b := range others {
			if got := metaOf(b, a); !maps.Equal(got, last) {
				t.Errorf("%s sees %v, want %v", b.Self(), got, last)
			}
		}
	})
}

// TestAHelloOlderThanTheMetadata: they change when the hello is on its way and the
// link isn't there yet, so that nobody is there to be told.
func TestAHelloOlderThanTheMetadata(t *testing.T) {
	tests := []struct {
		name  string
		hello frameType // in which a's metadata go
	}{
		{"of the dialler", frameHello},
		{"of the acceptor", frameAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFakeNet()
				var a *Mesh
				late := func(b []byte) {
					if frameType(b[0]) != tt.hello {
						return
					}
					if err := a.SetMeta(map[string]string{"v": "new"}); err != nil {
						t.Error(err)
					}
					time.Sleep(2 * newsPauseMax) // whoever is linked has been told by then
				}
				var err error
				a, err = listenOn(fake.host(hostIP(0)).overheard(late), quiet(Config{
					Insecure: true, Bind: "10.0.0.0:4370", Meta: map[string]string{"v": "old"},
				}))
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				b := fake.listen(t, 1, insecurely)
				from, to := a, b
				if tt.hello == frameAnswer {
					from, to = b, a
				}
				connect(t, from, to)
				time.Sleep(2 * newsPauseMax)
				if got := metaOf(b, a); got["v"] != "new" {
					t.Errorf("the peer sees %v", got)
				}
			})
		})
	}
}

// overheard has each of this host's writes shown before it is made.
func (n network) overheard(before func([]byte)) network {
	return network{
		listen: func(ctx context.Context, addr string) (net.Listener, error) {
			l, err := n.listen(ctx, addr)
			return overheardListener{l, before}, err
		},
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := n.dial(ctx, addr)
			return overheardConn{c, before}, err
		},
	}
}

type overheardListener struct {
	net.Listener
	before func([]byte)
}

func (l overheardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return overheardConn{c, l.before}, err
}

type overheardConn struct {
	net.Conn
	before func([]byte)
}

func (c overheardConn) Write(b []byte) (int, error) {
	c.before(b)
	return c.Conn.Write(b)
}
