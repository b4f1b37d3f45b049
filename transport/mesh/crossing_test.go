package mesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// TestCrossingDials: both ends dial each other a thousand times, half of them
// over a network with random delays, while numbered messages flow both ways; one
// link is left, and no message is lost or out of order.
func TestCrossingDials(t *testing.T) {
	t.Parallel()
	const dials = 1000
	toA, toB := newNumbers(), newNumbers()
	a := listen(t, func(c *Config) { c.Handlers = map[string]Handler{"n": toA.handle} })
	b := listen(t, func(c *Config) { c.Handlers = map[string]Handler{"n": toB.handle} })
	connect(t, a, b)
	downs := [...]<-chan Event{a.Events(t.Context()), b.Events(t.Context())}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	flow, stop := context.WithCancel(ctx)
	var senders, dialers sync.WaitGroup
	senders.Go(func() { toB.send(t, flow, a, b.Self()) })
	senders.Go(func() { toA.send(t, flow, b, a.Self()) })
	pause := func() { time.Sleep(rand.N(time.Millisecond)) } // random delays are what is tested
	viaA, viaB := startRelay(t, a.Addr().String(), pause), startRelay(t, b.Addr().String(), pause)
	for _, addrs := range [][2]string{{a.Self().Addr(), b.Self().Addr()}, {viaA.addr(), viaB.addr()}} {
		dialers.Go(func() { dialOften(t, ctx, a, addrs[1], dials/2) })
		dialers.Go(func() { dialOften(t, ctx, b, addrs[0], dials/2) })
	}
	dialers.Wait()
	stop()
	senders.Wait()
	until(t, a, "one link is left", func() bool { return linkCount(a) == 1 })
	until(t, b, "one link is left", func() bool { return linkCount(b) == 1 })
	for _, n := range []*numbers{toA, toB} {
		n.settle(t, ctx)
		t.Logf("%d messages", n.next)
	}
	for _, events := range downs {
		<-events // the snapshot
		for len(events) > 0 {
			t.Errorf("the peer flapped: %+v", <-events)
		}
	}
}

// numbers are messages of which a few are under way at any time.
type numbers struct {
	window   chan struct{}
	sent     uint64
	next     uint64 // the handler's, which is called once at a time
	disorder atomic.Pointer[string]
}

func newNumbers() *numbers { return &numbers{window: make(chan struct{}, 64)} }

func (n *numbers) handle(_ context.Context, m Message) {
	got := binary.BigEndian.Uint64(m.Data)
	if got != n.next {
		s := fmt.Sprintf("message %d came where %d was due", got, n.next)
		n.disorder.CompareAndSwap(nil, &s)
	}
	n.next = got + 1
	<-n.window
}

func (n *numbers) send(t *testing.T, ctx context.Context, m *Mesh, to transport.Node) {
	t.Helper()
	for {
		select {
		case n.window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := m.Send(context.WithoutCancel(ctx), to, "n", binary.BigEndian.AppendUint64(nil, n.sent))
		if err != nil {
			t.Errorf("message %d: %v", n.sent, err)
			return
		}
		n.sent++
	}
}

// settle waits until all that was sent has come, in order.
func (n *numbers) settle(t *testing.T, ctx context.Context) {
	t.Helper()
	for range cap(n.window) {
		select {
		case n.window <- struct{}{}:
		case <-ctx.Done():
			t.Fatalf("messages are lost, of %d", n.sent)
		}
	}
	if s := n.disorder.Load(); s != nil {
		t.Error(*s)
	}
}

func dialOften(t *testing.T, ctx context.Context, m *Mesh, addr string, times int) {
	t.Helper()
	for dialled := 0; dialled < times; {
		time.Sleep(rand.N(3 * time.Millisecond)) // a random delay is what is tested
		switch err := m.dial(ctx, target{addr: addr}, nil); {
		case err == nil:
			dialled++
		case !refusedWith(CodeDuplicate)(err): // as many links as a pair may have: again
			t.Errorf("dial: %v", err)
			return
		}
	}
}

func linkCount(m *Mesh) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, p := range m.peers {
		n += len(p.links)
	}
	return n
}
