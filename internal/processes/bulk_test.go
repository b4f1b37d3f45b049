//go:build unix

package processes_test

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// bulkHeartbeat is so short that a peer that is stopped is noticed before TCP gives
// it up, which takes 5 seconds.
const bulkHeartbeat = time.Second

// TestHeartbeatsBesideBulk: messages of 16 MiB go both ways, or one way, so that the
// other end has nothing to say but to answer pings. Nobody goes down, small requests
// are answered, and one that is stopped for a moment isn't given up. One that is
// stopped for good is, by its silence.
func TestHeartbeatsBesideBulk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, how string }{{"both ways", childPours}, {"one way", childIdles}} {
		t.Run(tt.name, func(t *testing.T) {
			b := besideBulk(t, tt.how)
			if tt.how == childIdles {
				b.awaitPing(t)
			}
			b.ask(t, scaled(5*time.Second))
			b.child.freeze(t, bulkHeartbeat)
			b.ask(t, 2*bulkHeartbeat) // in which a wrong judgement would fall
			if downs := b.child.downs(); len(downs) > 0 {
				t.Fatalf("the child: %q", downs)
			}
			b.stop(t)
		})
	}
}

// A bulky is a node that pours bulk to a child.
type bulky struct {
	m      *mesh.Mesh
	child  *child
	node   transport.Node // the child's
	events <-chan mesh.Event
	poured chan error // how it ended
}

// besideBulk returns when bulk flows.
func besideBulk(t *testing.T, how string) *bulky {
	t.Helper()
	cfg := config(theSecret)
	setHeartbeat(&cfg, bulkHeartbeat)
	m, err := mesh.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	came := make(chan struct{}, 1)
	if err := takeBulk(m, func() {
		select {
		case came <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, how+" "+bulkHeartbeat.String(), theSecret)
	b := &bulky{m: m, child: c, node: transport.Node(c.node), events: m.Events(t.Context()), poured: make(chan error, 1)}
	if err := m.Connect(t.Context(), b.node); err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), b.node, "bulk", make([]byte, bulkSize)); err != nil {
		t.Fatal(err)
	}
	if how == childPours {
		select {
		case <-came:
		case <-time.After(patience):
			t.Fatalf("not in %s: the child pours", patience)
		}
	}
	go func() { b.poured <- pour(m, b.node) }()
	return b
}

// peer is the child as it is seen now.
func (b *bulky) peer(t *testing.T) mesh.Peer {
	t.Helper()
	peers := b.m.Peers()
	if len(peers) != 1 {
		t.Fatalf("there are %d peers; want the child", len(peers))
	}
	return peers[0]
}

// awaitPing waits until the child, which has nothing else to say, has answered one.
func (b *bulky) awaitPing(t *testing.T) {
	t.Helper()
	late := time.After(patience)
	for before := b.peer(t).RTT; b.peer(t).RTT == before; {
		select {
		case <-time.After(bulkHeartbeat / 10):
		case <-late:
			t.Fatalf("not in %s: a ping is answered", patience)
		}
	}
	t.Logf("a ping took %s", b.peer(t).RTT)
}

// ask sends requests for a while, one at a time, each of which has to be answered.
// Nobody may go down meanwhile. How long the slowest took, which depends on the
// machine, is logged.
func (b *bulky) ask(t *testing.T, span time.Duration) {
	t.Helper()
	var took []time.Duration
	for began := time.Now(); time.Since(began) < span; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		asked := time.Now()
		_, err := b.m.Request(ctx, b.node, "echo", make([]byte, smallData))
		cancel()
		if err != nil {
			t.Fatalf("request %d: %v", len(took), err)
		}
		took = append(took, time.Since(asked))
	}
	for {
		select {
		case e := <-b.events:
			if down, ok := e.(mesh.PeerDown); ok {
				t.Fatalf("the child is given up: %s", down.Reason)
			}
			continue
		default:
		}
		break
	}
	slices.Sort(took)
	t.Logf("%d requests were answered, one half in %s, and all in %s", len(took), took[len(took)/2], took[len(took)-1])
}

// stop stops the child for good.
func (b *bulky) stop(t *testing.T) {
	t.Helper()
	stopped := time.Now()
	if err := b.child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	down := b.awaitDown(t)
	took := time.Since(stopped)
	t.Logf("given up after %s: %s", took, down.Reason)
	if down.Reason != mesh.ReasonSilent {
		t.Errorf("a child that is stopped is given up as %s; want %s", down.Reason, mesh.ReasonSilent)
	}
	// It answered just before, and DownAfter is two heartbeats. How much later it may
	// be, patience bounds: each time this machine stalls, every link gets a fresh window.
	if took < bulkHeartbeat {
		t.Errorf("a child that is stopped is given up after %s; want at least %s", took, bulkHeartbeat)
	}
	if err := <-b.poured; !errors.Is(err, mesh.ErrDown) {
		t.Errorf("pouring ends with %v; want ErrDown", err)
	}
}

func (b *bulky) awaitDown(t *testing.T) mesh.PeerDown {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-b.events:
			if down, ok := e.(mesh.PeerDown); ok {
				return down
			}
		case <-late:
			t.Fatalf("not in %s: a child that is stopped is given up", patience)
		}
	}
}
