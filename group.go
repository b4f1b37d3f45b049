package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// A group runs the core of one transport: one goroutine steps it and carries
// out what it says, each call of the transport on a goroutine of its own.
type group struct {
	sup  *Supervisor
	key  any // in Supervisor.groups
	kick chan struct{}

	mu        sync.Mutex
	transport Transport // may be exchanged for other funcs of the same topology
	self      Node      // of the transport
	core      *core
	cancels   map[Node]context.CancelFunc // of attempts under way
}

func newGroup(s *Supervisor, key any, t Transport, self Node) *group {
	_, aliases := t.(transport.Canonicalizer)
	return &group{
		sup: s, key: key, kick: make(chan struct{}, 1), transport: t, self: self,
		core: newCore(&s.opts, aliases, rand.Float64), cancels: map[Node]context.CancelFunc{},
	}
}

// update changes the core, and has it stepped.
func (g *group) update(change func(c *core, now time.Time)) {
	g.mu.Lock()
	change(g.core, time.Now())
	g.mu.Unlock()
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// use takes other funcs of the topology that the group belongs to.
func (g *group) use(t Transport, self Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.transport, g.self = t, self
}

// current is the transport to call now, and what node it is.
func (g *group) current() (Transport, Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.transport, g.self
}

// loop runs until the supervisor stops, or the group has nothing to do any more.
func (g *group) loop() {
	changes := g.notifications()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for g.sup.ctx.Err() == nil {
		g.mu.Lock()
		fx := g.core.step(time.Now())
		idle := g.core.idle()
		g.mu.Unlock()
		g.carryOut(fx)
		if idle && g.sup.dropGroup(g) {
			return
		}
		if !fx.wake.IsZero() {
			wake.Reset(time.Until(fx.wake))
		}
		select {
		case <-g.kick:
		case <-wake.C:
		case _, open := <-changes:
			if !open {
				changes = nil
			}
			g.mu.Lock()
			g.core.relist(time.Now())
			g.mu.Unlock()
		case <-g.sup.ctx.Done():
		}
	}
}

// notifications are those of the transport, if it has any.
func (g *group) notifications() <-chan struct{} {
	t, _ := g.current()
	n, ok := t.(transport.Notifier)
	if !ok {
		return nil
	}
	return n.Notify(g.sup.ctx)
}

func (g *group) carryOut(fx effects) {
	g.sup.publish(fx.events...)
	for _, n := range fx.cancels {
		g.mu.Lock()
		cancel := g.cancels[n]
		g.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	}
	for _, n := range fx.dials {
		ctx, cancel := context.WithTimeout(g.sup.ctx, g.sup.opts.connectTimeout)
		g.mu.Lock()
		g.cancels[n] = cancel
		g.mu.Unlock()
		g.sup.run(func() { g.connect(ctx, cancel, n) })
	}
	for _, n := range fx.cuts {
		g.sup.run(func() { g.disconnect(n) })
	}
	if fx.list != nil {
		g.sup.run(func() { g.list(*fx.list) })
	}
}

// call runs a func of the transport within its time. It is listed for Wait, and
// its panic is an error.
func (g *group) call(ctx context.Context, what string, f func(ctx context.Context, t Transport) error) (err error) {
	t, _ := g.current()
	defer g.sup.calls.begin(what)()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cluster: %s panicked: %v", what, r)
		}
	}()
	return f(ctx, t)
}

func (g *group) connect(ctx context.Context, cancel context.CancelFunc, n Node) {
	defer cancel()
	var canon []Node
	err := g.call(ctx, "Connect("+string(n)+")", func(ctx context.Context, t Transport) error { return t.Connect(ctx, n) })
	if panicked := g.call(ctx, "Canonical("+string(n)+")", func(_ context.Context, t Transport) error {
		if c, ok := t.(transport.Canonicalizer); ok {
			canon = c.Canonical(n)
		}
		return nil
	}); panicked != nil {
		err = errors.Join(err, panicked)
	}
	g.update(func(c *core, now time.Time) {
		delete(g.cancels, n)
		c.connected(now, n, canon, err)
	})
}

func (g *group) disconnect(n Node) {
	ctx, cancel := context.WithTimeout(g.sup.ctx, g.sup.opts.connectTimeout)
	defer cancel()
	err := g.call(ctx, "Disconnect("+string(n)+")", func(ctx context.Context, t Transport) error { return t.Disconnect(ctx, n) })
	g.update(func(c *core, now time.Time) { c.disconnected(now, n, err) })
}

func (g *group) list(l listing) {
	ctx, cancel := context.WithTimeout(g.sup.ctx, g.sup.opts.connectTimeout)
	defer cancel()
	answer := listed{seq: l.seq, canon: map[Node][]Node{}, departed: map[Node]bool{}}
	answer.err = g.call(ctx, "ListNodes", func(ctx context.Context, t Transport) error { return g.ask(ctx, t, l, &answer) })
	var before error
	g.update(func(c *core, now time.Time) {
		before = c.listErr
		c.listEnded(now, answer)
	})
	switch {
	case g.sup.ctx.Err() != nil:
	case answer.err != nil && before == nil:
		g.sup.log.Warn("listing the linked nodes failed, they stay as they were", "error", answer.err)
	case answer.err == nil && before != nil:
		g.sup.log.Info("listing the linked nodes works again")
	}
}

func (g *group) ask(ctx context.Context, t Transport, l listing, answer *listed) error {
	nodes, err := t.ListNodes(ctx)
	if err != nil {
		return err
	}
	_, self := g.current()
	seen := map[Node]bool{}
	for _, n := range nodes {
		if c, err := transport.ParseNode(string(n)); err == nil {
			n = c
		}
		if n != self {
			answer.nodes, seen[n] = append(answer.nodes, n), true
		}
	}
	if c, ok := t.(transport.Canonicalizer); ok {
		for _, n := range l.targets {
			answer.canon[n] = c.Canonical(n)
		}
	}
	if d, ok := t.(transport.Departer); ok {
		for _, n := range l.links {
			if !seen[n] && d.Departed(n) {
				answer.departed[n] = true
			}
		}
	}
	return nil
}
