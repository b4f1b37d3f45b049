package gossip

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// An ether is a network for tests: what one sends all hear, the sender included.
// A link that isn't among its links is cut: it neither hears nor is heard.
type ether struct {
	mu      sync.Mutex
	links   []*etherLink
	carries func(from, to cluster.Node) bool // nil: everything
	broken  error                            // what sending fails with
	heard   [][]byte                         // all packets
	origin  origin

	troubles []trouble // what everybody's look at the interfaces shows
}

// An etherLink is one node's end.
type etherLink struct {
	ether  *ether
	name   cluster.Node
	in     chan []byte
	closed chan struct{}
}

func (e *ether) open(name cluster.Node) *etherLink {
	l := &etherLink{ether: e, name: name, in: make(chan []byte, 4096), closed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = append(e.links, l)
	return l
}

// set changes the ether.
func (e *ether) set(change func(*ether)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// cut cuts the link that was opened as the i-th until it is mended.
func (e *ether) cut(i int) (mend func()) {
	var l *etherLink
	e.set(func(e *ether) {
		l = e.links[i]
		e.links = slices.Delete(slices.Clone(e.links), i, i+1)
	})
	return func() { e.set(func(e *ether) { e.links = append(e.links, l) }) }
}

// packets returns all that were sent.
func (e *ether) packets() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// inject has everybody hear a packet.
func (e *ether) inject(packet []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deliver("", packet)
}

func (e *ether) deliver(from cluster.Node, packet []byte) {
	for _, l := range e.links {
		if e.carries == nil || from == "" || e.carries(from, l.name) {
			select {
			case l.in <- bytes.Clone(packet):
			default: // as a full socket does
			}
		}
	}
}

func (l *etherLink) send(packet []byte) error {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	if l.ether.broken != nil {
		return l.ether.broken
	}
	if !slices.Contains(l.ether.links, l) {
		return nil
	}
	l.ether.heard = append(l.ether.heard, bytes.Clone(packet))
	l.ether.deliver(l.name, packet)
	return nil
}

func (l *etherLink) receive(buf []byte) (int, origin, error) {
	select {
	case p := <-l.in:
		l.ether.mu.Lock()
		defer l.ether.mu.Unlock()
		return copy(buf, p), l.ether.origin, nil
	case <-l.closed:
		return 0, origin{}, net.ErrClosed
	}
}

func (l *etherLink) refresh(context.Context) news {
	l.ether.mu.Lock()
	defer l.ether.mu.Unlock()
	return news{troubles: l.ether.troubles}
}

func (l *etherLink) close() error {
	l.ether.set(func(e *ether) {
		e.links = slices.DeleteFunc(e.links, func(other *etherLink) bool { return other == l })
	})
	close(l.closed)
	return nil
}

// An etherStrategy gossips over an ether instead of sockets.
type etherStrategy struct {
	Strategy

	ether *ether
}

func (s etherStrategy) Run(ctx context.Context, r *cluster.Roster) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return s.withDefaults().run(ctx, r, []link{s.ether.open(r.Self())})
}

// A listener is a node that gossips, and what it was told.
type listener struct {
	t       *testing.T
	self    cluster.Node
	began   time.Time
	stop    func() // says farewell
	mu      sync.Mutex
	changes []told
}

// A told is a change, and when after the start it was told.
type told struct {
	cluster.Change

	at time.Duration
}

// listen starts a node. Its strategy has the secret A unless change says
// otherwise.
func (e *ether) listen(t *testing.T, self cluster.Node, change ...func(*Strategy)) *listener {
	t.Helper()
	s := etherStrategy{Strategy{Secrets: []string{secretA}}, e}
	for _, c := range change {
		c(&s.Strategy)
	}
	l := &listener{t: t, self: self, began: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Run(ctx, cluster.NewRoster(self, nil, l.take)); err != nil {
			t.Errorf("Run of %s returns %v", self, err)
		}
	})
	l.stop = func() { cancel(); done.Wait() }
	t.Cleanup(l.stop)
	return l
}

func (l *listener) take(c cluster.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, told{c, time.Since(l.began)})
}

// told returns the changes of a kind.
func (l *listener) told(kind cluster.ChangeKind) (all []told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.changes {
		if c.Kind == kind {
			all = append(all, c)
		}
	}
	return all
}

// knows returns when the node was first told to the listener, and whether it
// was.
func (l *listener) knows(n cluster.Node) (at time.Duration, ok bool) {
	for _, c := range l.told(cluster.Added) {
		if slices.Contains(c.Nodes, n) {
			return c.at, true
		}
	}
	return 0, false
}

// mustKnow checks that others were told, and when.
func (l *listener) mustKnow(by time.Duration, others ...cluster.Node) {
	l.t.Helper()
	for _, n := range others {
		if at, ok := l.knows(n); n != l.self && (!ok || at > by) {
			l.t.Errorf("%s knows %s: %t, after %s; want it by %s", l.self, n, ok, at, by)
		}
	}
}

// mustNotKnow checks that none of others was told.
func (l *listener) mustNotKnow(others ...cluster.Node) {
	l.t.Helper()
	for _, n := range others {
		if at, ok := l.knows(n); ok {
			l.t.Errorf("%s knows %s after %s", l.self, n, at)
		}
	}
}

// removed returns the nodes of all removals.
func (l *listener) removed() (all []cluster.Node) {
	for _, c := range l.told(cluster.Removed) {
		all = append(all, c.Nodes...)
	}
	return all
}

var errBroken = errors.New("the ether is broken")
