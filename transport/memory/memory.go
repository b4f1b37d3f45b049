// Package memory is a transport for tests: nodes of one process, joined by a
// network that can be cut, hung and healed.
//
//	net := memory.New()
//	a, _ := net.Join("a:1")
//	b, _ := net.Join("b:1")
//	_ = a.Connect(ctx, "b:1") // now each lists the other
//	net.Cut("a:1", "b:1")     // now neither does, and neither can connect
//
// It is no [transport.Agreer]: most nodes of a test only stand there, and are linked
// with nobody but the one that is tested.
//
// # Concurrency
//
// All methods may be called from any goroutine. The package starts none, and
// works in the bubbles of testing/synctest.
package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

// Errors of a [Transport].
var (
	// ErrClosed says that the transport was closed or has crashed.
	ErrClosed = errors.New("memory: closed")
	// ErrRefused says that no such node has joined.
	ErrRefused = errors.New("memory: connection refused")
	// ErrUnreachable says that the network is cut between two nodes.
	ErrUnreachable = errors.New("memory: unreachable")
	// ErrTaken says that a node of that address has joined already.
	ErrTaken = errors.New("memory: address taken")
)

// A Network joins nodes. Make one with [New].
type Network struct {
	healed signal.Signal // rung when what hangs may go on

	mu    sync.Mutex
	nodes map[string]*Transport // by address
	names map[string][]transport.Node
	cut   map[[2]string]bool
	hung  map[string]bool
	delay time.Duration
}

// New returns a network without nodes.
func New() *Network {
	return &Network{
		nodes: map[string]*Transport{}, names: map[string][]transport.Node{},
		cut: map[[2]string]bool{}, hung: map[string]bool{},
	}
}

// A Transport is one node's end of the links. Links are symmetrical: when one
// side connects, both list each other.
type Transport struct {
	net  *Network
	self transport.Node

	// The network's mu guards these.
	closed   bool
	links    map[string]*Transport // by address
	departed map[string]bool
	notify   map[chan struct{}]struct{}
}

var (
	_ transport.Transport     = (*Transport)(nil)
	_ transport.Canonicalizer = (*Transport)(nil)
	_ transport.Notifier      = (*Transport)(nil)
	_ transport.Departer      = (*Transport)(nil)
)

// Join adds a node, whose address is free again after Close or Crash.
func (w *Network) Join(node transport.Node) (*Transport, error) {
	n, err := transport.ParseNode(string(node))
	if err != nil {
		return nil, fmt.Errorf("memory: Join: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nodes[n.Addr()] != nil {
		return nil, fmt.Errorf("%w: %s", ErrTaken, n.Addr())
	}
	t := &Transport{
		net: w, self: n, links: map[string]*Transport{}, departed: map[string]bool{}, notify: map[chan struct{}]struct{}{},
	}
	w.nodes[n.Addr()] = t
	return t, nil
}

// Name lets an address stand for several nodes, as a DNS name does; none takes
// the name away. Links that exist stay.
func (w *Network) Name(addr transport.Node, nodes ...transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[addr.Addr()] = slices.Clone(nodes)
	if len(nodes) == 0 {
		delete(w.names, addr.Addr())
	}
}

// Cut breaks the link of two nodes, as lost, and lets no dial through.
func (w *Network) Cut(a, b transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutLocked(a.Addr(), b.Addr())
}

// Isolate cuts a node from all others that have joined.
func (w *Network) Isolate(n transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for addr := range w.nodes {
		if addr != n.Addr() {
			w.cutLocked(n.Addr(), addr)
		}
	}
}

// Split cuts every two nodes that are in different groups.
func (w *Network) Split(groups ...[]transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, g := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range g {
				for _, b := range other {
					w.cutLocked(a.Addr(), b.Addr())
				}
			}
		}
	}
}

// Break breaks the link of two nodes, as lost; they can connect again.
func (w *Network) Break(a, b transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(w.nodes[a.Addr()], w.nodes[b.Addr()], false)
}

// Dial has one node connect to another.
func (w *Network) Dial(ctx context.Context, from, to transport.Node) error {
	w.mu.Lock()
	t := w.nodes[from.Addr()]
	w.mu.Unlock()
	if t == nil {
		return fmt.Errorf("%w: %s has not joined", ErrRefused, from)
	}
	return t.Connect(ctx, to)
}

// Leave has one node disconnect another, on purpose.
func (w *Network) Leave(from, to transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(w.nodes[from.Addr()], w.nodes[to.Addr()], true)
}

// Hang makes a node a black hole: whoever connects to it waits until its
// context is done. Links that exist stay.
func (w *Network) Hang(n transport.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung[n.Addr()] = true
}

// Heal undoes every Cut, Isolate, Split and Hang.
func (w *Network) Heal() {
	w.mu.Lock()
	clear(w.cut)
	clear(w.hung)
	w.mu.Unlock()
	w.healed.Ring()
}

// SetDelay sets how long connecting takes from now on; zero is no time.
func (w *Network) SetDelay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (w *Network) cutLocked(a, b string) {
	w.cut[pair(a, b)] = true
	w.unlink(w.nodes[a], w.nodes[b], false)
}

// unlink ends a link, if there is one. left says that it was meant.
func (w *Network) unlink(a, b *Transport, left bool) {
	if a == nil || b == nil || a.links[b.self.Addr()] != b {
		return
	}
	for _, end := range [][2]*Transport{{a, b}, {b, a}} {
		delete(end[0].links, end[1].self.Addr())
		end[0].departed[end[1].self.Addr()] = left
		end[0].changed()
	}
}

func (t *Transport) changed() {
	for ch := range t.notify {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Self returns this node.
func (t *Transport) Self() transport.Node { return t.self }

// Connect links this node with n, or with every node that n is the name of.
func (t *Transport) Connect(ctx context.Context, n transport.Node) error {
	t.net.mu.Lock()
	nodes, named := t.net.names[n.Addr()]
	delay := t.net.delay
	t.net.mu.Unlock()
	if delay > 0 {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !named {
		return t.connect(ctx, n)
	}
	return t.connectAll(ctx, nodes)
}

func (t *Transport) connectAll(ctx context.Context, nodes []transport.Node) error {
	var failed []error
	linked := 0
	for _, n := range nodes {
		switch err := t.connect(ctx, n); {
		case err == nil:
			linked++
		case !errors.Is(err, transport.ErrSelf):
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) > 0 && linked > 0:
		return fmt.Errorf("%w: %w", transport.ErrPartial, errors.Join(failed...))
	case len(failed) > 0:
		return errors.Join(failed...)
	case linked == 0:
		return transport.ErrSelf
	default:
		return nil
	}
}

func (t *Transport) connect(ctx context.Context, n transport.Node) error {
	for {
		healed := t.net.healed.Wait()
		hung, err := t.tryConnect(n)
		if !hung {
			return err
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (t *Transport) tryConnect(n transport.Node) (hung bool, err error) {
	w := t.net
	w.mu.Lock()
	defer w.mu.Unlock()
	other := w.nodes[n.Addr()]
	switch {
	case t.closed:
		return false, ErrClosed
	case other == t:
		return false, transport.ErrSelf
	case other != nil && t.links[n.Addr()] == other:
		return false, nil
	case w.hung[n.Addr()] || w.hung[t.self.Addr()]:
		return true, nil
	case w.cut[pair(t.self.Addr(), n.Addr())]:
		return false, fmt.Errorf("%w: %s", ErrUnreachable, n)
	case other == nil:
		return false, fmt.Errorf("%w: %s", ErrRefused, n)
	}
	for _, end := range [][2]*Transport{{t, other}, {other, t}} {
		end[0].links[end[1].self.Addr()] = end[1]
		delete(end[0].departed, end[1].self.Addr())
		end[0].changed()
	}
	return false, nil
}

// Disconnect ends the link with n; both sides know that it was meant.
func (t *Transport) Disconnect(_ context.Context, n transport.Node) error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.net.unlink(t, t.links[n.Addr()], true)
	return nil
}

// ListNodes returns the linked nodes, in order.
func (t *Transport) ListNodes(context.Context) ([]transport.Node, error) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	nodes := []transport.Node{}
	for other := range maps.Values(t.links) {
		nodes = append(nodes, other.self)
	}
	slices.Sort(nodes)
	return nodes, nil
}

// Canonical returns the linked nodes that n stands for.
func (t *Transport) Canonical(n transport.Node) []transport.Node {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	candidates, named := t.net.names[n.Addr()]
	if !named {
		candidates = []transport.Node{n}
	}
	var nodes []transport.Node
	for _, c := range candidates {
		if other := t.links[c.Addr()]; other != nil {
			nodes = append(nodes, other.self)
		}
	}
	return nodes
}

// Departed reports whether the latest link with n was ended by Close or
// Disconnect.
func (t *Transport) Departed(n transport.Node) bool {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	return t.departed[n.Addr()]
}

// Notify implements [transport.Notifier]. The channel isn't closed.
func (t *Transport) Notify(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.notify[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		t.net.mu.Lock()
		defer t.net.mu.Unlock()
		delete(t.notify, ch)
	})
	return ch
}

// Close leaves the network: the others see that it was meant. It may be called
// again; its error is always nil.
func (t *Transport) Close() error { t.end(true); return nil }

// Crash ends the node without a word: the others see it as lost.
func (t *Transport) Crash() { t.end(false) }

func (t *Transport) end(left bool) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	for other := range maps.Values(maps.Clone(t.links)) {
		t.net.unlink(t, other, left)
	}
	delete(t.net.nodes, t.self.Addr())
	t.changed()
}
