package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/internal/feed"
	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// ErrStopped says that the supervisor has stopped.
var ErrStopped = errors.New("cluster: the supervisor has stopped")

// A Supervisor runs topologies. Make one with [Start]; its methods may be called
// from any goroutine.
type Supervisor struct {
	opts    options
	log     *slog.Logger    // may be used under a lock; opts.log is for others
	ctx     context.Context //nolint:containedctx // ends with the supervisor
	cancel  context.CancelFunc
	hub     *feed.Hub[Event]
	changed signal.Signal

	// The hub's lock guards these.
	told     map[Node]int      // nodes that are linked
	diverged map[Node]Diverged // by this node's name on the transport

	calls calls
	work  sync.WaitGroup
	done  chan struct{}
	err   error // before done is closed

	making sync.Mutex // while a mesh is made

	mu      sync.Mutex
	stopped bool
	mesh    *mesh.Mesh
	version int // counts what Apply did
	runners []*runner
	groups  map[any]*group
}

func start(ctx context.Context, topologies []Topology, o options) (*Supervisor, error) {
	s := &Supervisor{opts: o, told: map[Node]int{}, diverged: map[Node]Diverged{}, groups: map[any]*group{}, done: make(chan struct{})}
	s.hub = feed.New(eventQueue, s.snapshot, func(n int) Event { return Lagged{N: n} })
	s.log = s.newLog()
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := s.Apply(topologies); err != nil {
		s.cancel()
		if errors.Is(err, ErrStopped) {
			err = fmt.Errorf("%w before it began: %w", ErrStopped, context.Cause(ctx))
		}
		if s.mesh != nil {
			err = errors.Join(err, s.mesh.Close())
		}
		return nil, err
	}
	s.watchShared()
	go s.end()
	return s, nil
}

// watchShared looks at the transport of WithTransport even while no topology
// does: its nodes are of interest however they were found.
func (s *Supervisor) watchShared() {
	if s.opts.transport == nil {
		return
	}
	p := s.plan(Topology{}, Topology{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.group(p)
}

// run starts a goroutine that Wait waits for. The caller runs on another such,
// or holds mu and has seen that the supervisor isn't stopped.
func (s *Supervisor) run(f func()) { s.work.Go(f) }

// Mesh returns the mesh that Start made from the environment, for its messages
// and peers; nil if there was no need for one.
func (s *Supervisor) Mesh() *mesh.Mesh {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mesh
}

// Stop ends the supervisor and returns at once: strategies and calls of
// transports are cancelled, no node is disconnected, and a mesh that Start made
// is closed, which tells the others that this node leaves. It may be called
// again, and from hooks.
func (s *Supervisor) Stop() { s.cancel() }

// Wait returns when the supervisor has stopped and all that it started has
// ended: nil, or, after the stop timeout, an error that names the calls of user
// code that have not returned.
func (s *Supervisor) Wait() error {
	<-s.done
	return s.err
}

// WaitNodes waits until at least n other nodes are linked. Its error says how
// many are when ctx is done or the supervisor stops.
func (s *Supervisor) WaitNodes(ctx context.Context, n int) error {
	for {
		changed := s.changed.Wait()
		linked := len(s.Nodes())
		if linked >= n && s.ctx.Err() == nil {
			return nil
		}
		var cause error
		select {
		case <-changed:
			continue
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-s.ctx.Done():
			cause = ErrStopped
		}
		return fmt.Errorf("cluster: %d of %d nodes are linked: %w", linked, n, cause)
	}
}

// end waits for the stop and then for everything else.
func (s *Supervisor) end() {
	<-s.ctx.Done()
	s.mu.Lock()
	s.stopped = true // nothing is started any more
	m := s.mesh
	s.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		var err error
		if m != nil {
			end := s.calls.begin("closing the mesh")
			err = m.Close()
			end()
		}
		s.work.Wait()
		s.calls.wait() // of the logger
		ended <- err
	}()
	late := time.NewTimer(s.opts.stopTimeout)
	defer late.Stop()
	select {
	case s.err = <-ended:
	case <-late.C:
		s.err = fmt.Errorf("cluster: not stopped in %s: %s", s.opts.stopTimeout, s.calls.stuck(time.Now()))
	}
	if m != nil {
		s.forgetGroup(m)
	}
	s.hub.Close()
	s.changed.Ring()
	close(s.done)
}

// forgetGroup tells that nothing is linked any more on a transport that this
// supervisor has closed.
func (s *Supervisor) forgetGroup(key any) {
	s.mu.Lock()
	g := s.groups[key]
	s.mu.Unlock()
	if g != nil {
		s.forget(g)
	}
}

// Apply replaces the topologies. The same name means the same topology: one
// whose strategy and transport are as they were isn't touched; of a changed one,
// what the old strategy wanted is dialled, and nobody cut, until the new one's first
// complete answer ([Roster.Replace]); the nodes of one that is gone are disconnected after the remove grace unless
// another wants them. On an error nothing is changed. Apply waits for no
// strategy to end.
func (s *Supervisor) Apply(topologies []Topology) error {
	topologies = slices.Clone(topologies)
	if err := validate(topologies); err != nil {
		return err
	}
	if err := s.makeMesh(topologies); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		version, old := s.version, s.assigned()
		s.mu.Unlock()
		plan := make([]planned, len(topologies))
		for i, t := range topologies {
			plan[i] = s.plan(t, old[t.Name])
		}
		s.mu.Lock()
		if s.stopped || s.ctx.Err() != nil {
			s.mu.Unlock()
			return ErrStopped
		}
		if s.version == version {
			s.apply(plan)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock() // another Apply came between: compare with its topologies
	}
}

// A planned is a topology with what it takes to run it.
type planned struct {
	topology  Topology
	key       any // of its group
	transport Transport
	self      Node
	same      bool // as it is running now
}

func (s *Supervisor) assigned() map[string]Topology {
	old := make(map[string]Topology, len(s.runners))
	for _, r := range s.runners {
		r.mu.Lock()
		old[r.name] = r.topology
		r.mu.Unlock()
	}
	return old
}

// funcsKey is the group of a topology that has three funcs.
type funcsKey struct{ topology string }

// plan asks the user's code what the topology is; no lock is held.
func (s *Supervisor) plan(t, old Topology) planned {
	p := planned{topology: t, transport: t.Transport}
	switch {
	case t.hasFuncs():
		p.key, p.transport = funcsKey{t.Name}, t.hooks()
	case t.Transport != nil:
		p.key = t.Transport
	default:
		p.transport = s.shared()
		p.key = p.transport
	}
	p.self = p.transport.Self()
	if n, err := transport.ParseNode(string(p.self)); err == nil {
		p.self = n
	}
	p.same = old.Name == t.Name && old.hasFuncs() == t.hasFuncs() && old.Transport == t.Transport &&
		old.Self == t.Self && sameStrategy(old.Strategy, t.Strategy)
	return p
}

// shared is the transport of the topologies that have none of their own.
func (s *Supervisor) shared() Transport {
	if s.opts.transport != nil {
		return s.opts.transport
	}
	return s.Mesh()
}

// apply is called under mu; it calls no user code and waits for nothing.
func (s *Supervisor) apply(plan []planned) {
	s.version++
	old := map[string]*runner{}
	for _, r := range s.runners {
		old[r.name] = r
	}
	s.runners = nil
	for _, p := range plan {
		g := s.group(p)
		r := old[p.topology.Name]
		delete(old, p.topology.Name)
		switch {
		case r == nil:
			r = newRunner(s, p.topology, g)
			s.run(r.loop)
		case !p.same:
			r.change(p.topology, g)
		}
		s.runners = append(s.runners, r)
	}
	for _, r := range old {
		r.remove()
	}
	order := map[*wants]int{}
	for i, r := range s.runners {
		order[r.wants] = i - len(s.runners) // before those that are gone
	}
	for _, g := range s.groups {
		g.update(func(c *core, _ time.Time) {
			slices.SortStableFunc(c.wants, func(a, b *wants) int { return order[a] - order[b] })
		})
	}
}

// group finds or starts the group of a transport. Of a topology's own funcs,
// the latest are called.
func (s *Supervisor) group(p planned) *group {
	g := s.groups[p.key]
	if g == nil {
		g = newGroup(s, p.key, p.transport, p.self)
		s.groups[p.key] = g
		s.run(g.loop)
		return g
	}
	g.use(p.transport, p.self)
	return g
}

// dropGroup forgets a group that has nothing to do, unless a topology came just
// now. The shared transport stays: its nodes are of interest in any case.
func (s *Supervisor) dropGroup(g *group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.key == any(s.opts.transport) || s.mesh != nil && g.key == any(s.mesh) {
		return false
	}
	g.mu.Lock()
	idle := g.core.idle()
	g.mu.Unlock()
	if idle {
		delete(s.groups, g.key)
		s.forget(g)
	}
	return idle
}
