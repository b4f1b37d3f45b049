package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
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

// rest is what no step has told yet, and the nodes that are linked after that.
func (g *group) rest() (untold []Event, linked []Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	untold, g.core.events = g.core.events, nil
	return untold, slices.Collect(maps.Keys(g.core.links))
}

// loop runs until the supervisor stops, or the group has nothing to do any more.
func (g *group) loop() {
	ctx, cancel := context.WithCancel(g.sup.ctx)
	defer cancel()
	g.sup.run(func() { g.watch(ctx) })
	wake := time.NewTimer(0)
	defer wake.Stop()
	for g.sup.ctx.Err() == nil {
		g.mu.Lock()
		fx := g.core.step(time.Now())
		idle := g.core.idle()
		g.mu.Unlock()
		g.carryOut(fx)
		g.sup.changed.Ring()
		if idle && g.sup.dropGroup(g) {
			return
		}
		if !fx.wake.IsZero() {
			wake.Reset(time.Until(fx.wake))
		}
		select {
		case <-g.kick:
		case <-wake.C:
		case <-g.sup.ctx.Done():
		}
	}
}

// watch has the links listed whenever the transport tells that they changed, if
// it does. It ends with the loop.
func (g *group) watch(ctx context.Context) {
	var changes <-chan struct{}
	err := g.call(ctx, "Notify", func(ctx context.Context, t Transport) error {
		if n, ok := t.(transport.Notifier); ok {
			changes = n.Notify(ctx)
		}
		return nil
	})
	if err != nil {
		g.sup.log.Error("the transport can't notify, it is asked now and then", "error", err)
	}
	if changes == nil {
		return
	}
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
			g.update(func(c *core, now time.Time) { c.relist(now) })
		case <-ctx.Done():
			return
		}
	}
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
	for _, n := range fx.forgets {
		g.sup.run(func() { g.forget(n) })
	}
	if fx.list != nil {
		g.sup.run(func() { g.list(*fx.list) })
	}
}

// call runs a func of the transport within its time. It is listed for Wait, and
// its panic is an error.
func (g *group) call(ctx context.Context, what string, f func(ctx context.Context, t Transport) error) error {
	t, _ := g.current()
	defer g.sup.calls.begin(what)()
	return protect(what, func() error { return f(ctx, t) }, nil)
}

func (g *group) connect(ctx context.Context, cancel context.CancelFunc, n Node) {
	defer cancel()
	var end outcome
	end.err = g.call(ctx, "Connect("+string(n)+")", func(ctx context.Context, t Transport) error {
		end = outcomeOf(t.Connect(ctx, n))
		return end.err
	})
	canon, self, panicked := g.canonical(ctx, n)
	switch {
	case panicked != nil:
		end.err = errors.Join(end.err, panicked)
	case self && len(canon) == 0:
		end = outcomeOf(transport.ErrSelf)
	}
	g.update(func(c *core, now time.Time) {
		delete(g.cancels, n)
		c.connected(now, n, canon, end)
	})
}

// canonical asks a transport that knows nodes by several names which links n stands
// for, and whether it stands for this node.
func (g *group) canonical(ctx context.Context, n Node) (links []Node, self bool, err error) {
	err = g.call(ctx, "Canonical("+string(n)+")", func(_ context.Context, t Transport) error {
		if c, ok := t.(transport.Canonicalizer); ok {
			links = c.Canonical(n)
		}
		return nil
	})
	_, me := g.current()
	if i := slices.Index(links, me); i >= 0 {
		links, self = slices.Delete(links, i, i+1), true
	}
	return links, self, err
}

// forget tells a transport that looks for nodes by itself.
func (g *group) forget(n Node) {
	_ = g.call(g.sup.ctx, "Forget("+string(n)+")", func(_ context.Context, t Transport) error {
		if f, ok := t.(transport.Forgetter); ok {
			f.Forget(n)
		}
		return nil
	}) // a panic of it changes nothing here
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
	failures := 0
	g.update(func(c *core, now time.Time) {
		failures = c.listFailures
		c.listEnded(now, answer)
	})
	switch {
	case g.sup.ctx.Err() != nil:
	case answer.err != nil && failures == 0:
		g.sup.log.Warn("listing the linked nodes failed, they stay as they were", "error", answer.err)
	case answer.err == nil && failures > 0:
		g.sup.log.Info("listing the linked nodes works again", "failures", failures)
	}
}

// ask fills in an answer. What the names stand for is asked before and after,
// lest a link that broke in between and is back looks like nobody's.
func (g *group) ask(ctx context.Context, t Transport, l listing, answer *listed) error {
	canonical := func() {
		if c, ok := t.(transport.Canonicalizer); ok {
			for _, n := range l.targets {
				answer.canon[n] = append(answer.canon[n], c.Canonical(n)...)
			}
		}
	}
	canonical()
	nodes, err := t.ListNodes(ctx)
	if err != nil {
		return err
	}
	_, self := g.current()
	seen := map[Node]bool{}
	for _, n := range nodes {
		if n, err = transport.ParseNode(string(n)); err != nil {
			return fmt.Errorf("cluster: ListNodes: %w", err)
		}
		if n != self {
			answer.nodes, seen[n] = append(answer.nodes, n), true
		}
	}
	canonical()
	if a, ok := t.(transport.Agreer); ok {
		answer.self, answer.agreement = self, a.Agreement()
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
