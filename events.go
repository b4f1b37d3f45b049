package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/internal/logqueue"
	"github.com/libcluster-go/cluster/transport"
)

// Causes of a [NodeDisconnected].
var (
	// ErrLost: the link broke, or the node died.
	ErrLost = errors.New("cluster: the link was lost")
	// ErrLeft: the node said that it leaves, or doesn't want this one.
	ErrLeft = errors.New("cluster: the node left")
	// ErrRemoved: no topology wanted the node any more, and it was cut.
	ErrRemoved = errors.New("cluster: no topology wants the node any more")
)

// errUnlisted is an ErrLost: perhaps the transport lists the node by another name
// than the one that it was connected by.
var errUnlisted = fmt.Errorf("%w: it was connected, and then not listed by that name", ErrLost)

// An Event is one of [Snapshot], [NodeConnected], [ConnectFailed],
// [NodeDisconnected], [DisconnectFailed], [StrategyFailed], [StrategyRestarted],
// [StrategyEnded], [Diverged], [Converged] and [Lagged]. In all of them Topology is
// the first one that wants the node; it is empty where none does, as when the
// other side dialled.
// All subscribers get the same event, so what it holds must not be changed.
type Event interface{ event() }

type (
	// Snapshot tells the nodes that are linked: the first event, the one after
	// Lagged, and one when a transport is no longer used. Diverged are the last
	// such events, one for each transport, after which no Converged has come.
	Snapshot struct {
		Nodes    []Node
		Diverged []Diverged
	}

	// NodeConnected tells that a node is linked. Duration is how long
	// connecting took; zero if this node didn't. Failures counts the
	// ConnectFailed that came before, since the node was last linked.
	NodeConnected struct {
		Node     Node
		Topology string
		Duration time.Duration
		Failures int
	}

	// ConnectFailed tells that an attempt failed, the how-manyeth since the
	// node was last linked or not wanted. Another follows after a backoff.
	ConnectFailed struct {
		Node     Node
		Topology string
		Attempt  int
		Duration time.Duration
		Err      error
	}

	// NodeDisconnected tells that a link is gone, why ([ErrLost], [ErrLeft],
	// [ErrRemoved]), and how long it was there.
	NodeDisconnected struct {
		Node     Node
		Topology string
		Cause    error
		Duration time.Duration
	}

	// DisconnectFailed tells that a node that nobody wants could not be cut, for
	// the how-manyeth time since one did. Another attempt follows after a backoff.
	DisconnectFailed struct {
		Node     Node
		Topology string
		Attempt  int
		Duration time.Duration
		Err      error
	}

	// StrategyFailed tells that a lookup failed (Roster.Fail), or that Run
	// returned an error or panicked. No node is removed for it. Failures counts
	// them since it last worked: since the last answer, or, after a Run that
	// failed, since one that had answered went on for 30 seconds.
	StrategyFailed struct {
		Topology string
		Failures int
		Err      error
	}

	// StrategyRestarted tells that Run is called again, after a failure or
	// because Apply brought another strategy.
	StrategyRestarted struct{ Topology string }

	// StrategyEnded tells that Run returned nil: what it found stays wanted.
	StrategyEnded struct{ Topology string }

	// Diverged tells that the nodes of a transport that compares them (as the
	// mesh does, after mesh.Config.DivergedAfter) keep disagreeing about who is
	// linked with whom. It comes again when what it names has changed.
	Diverged struct {
		// Self is this node on that transport.
		Self Node
		// Apart are the pairs of nodes that aren't linked with each other, this
		// node's own included, in order, as far as that is known and within
		// the transport's bounds: 64 of a mesh.
		Apart []transport.Pair
		// Differ are the linked nodes that see others than this one does.
		Differ []Node
	}

	// Converged tells that what Diverged has told is over: the nodes agree.
	Converged struct{ Self Node }

	// Lagged tells that the reader was too slow and missed N events; a Snapshot
	// follows.
	Lagged struct{ N int }
)

func (Snapshot) event()          {}
func (NodeConnected) event()     {}
func (ConnectFailed) event()     {}
func (NodeDisconnected) event()  {}
func (DisconnectFailed) event()  {}
func (StrategyFailed) event()    {}
func (StrategyRestarted) event() {}
func (StrategyEnded) event()     {}
func (Diverged) event()          {}
func (Converged) event()         {}
func (Lagged) event()            {}

// eventQueue is how many events a slow subscriber may be behind.
const eventQueue = 1024

// Events returns what happens from now on, after a [Snapshot]. The channel is
// closed when ctx is done or the supervisor has stopped. A reader that falls
// behind by more than 1024 events gets [Lagged] and a new Snapshot.
func (s *Supervisor) Events(ctx context.Context) <-chan Event { return s.hub.Subscribe(ctx) }

// publish tells events in order. Nodes and the hub's snapshots change with them.
func (s *Supervisor) publish(events ...Event) {
	for _, e := range events {
		s.hub.Publish(func() { s.count(e) }, e)
		logEvent(s.log, e)
	}
	if len(events) > 0 {
		s.changed.Ring()
	}
}

// count keeps the nodes that have been told. It is called under the hub's lock.
func (s *Supervisor) count(e Event) {
	switch e := e.(type) {
	case NodeConnected:
		s.told[e.Node]++
	case NodeDisconnected:
		if s.told[e.Node]--; s.told[e.Node] <= 0 {
			delete(s.told, e.Node)
		}
	case Diverged:
		s.diverged[e.Self] = e
	case Converged:
		delete(s.diverged, e.Self)
	}
}

// forget tells that the links of a group are no longer looked at. What its core
// has noticed since its last step counts too, and nobody else will tell it.
func (s *Supervisor) forget(g *group) {
	events, links := g.rest()
	_, self := g.current()
	var left Event
	s.hub.Publish(func() {
		_, diverged := s.diverged[self]
		if len(events)+len(links) == 0 && !diverged {
			return
		}
		for _, e := range events {
			s.count(e)
		}
		for _, n := range links {
			s.count(NodeDisconnected{Node: n})
		}
		s.count(Converged{Self: self})
		left = s.snapshot()
	})
	if left != nil {
		s.hub.Publish(nil, left)
		s.changed.Ring()
	}
}

// snapshot is called under the hub's lock.
func (s *Supervisor) snapshot() Event {
	return Snapshot{Nodes: slices.Sorted(maps.Keys(s.told)), Diverged: s.allDiverged()}
}

// allDiverged is called under the hub's lock.
func (s *Supervisor) allDiverged() []Diverged {
	return slices.SortedFunc(maps.Values(s.diverged), func(a, b Diverged) int { return cmp.Compare(a.Self, b.Self) })
}

// newLog returns the logger for what the supervisor itself has to say: it may
// be used on a loop and under a lock, since the user's handler runs elsewhere.
// It may be used while end waits, too, which it does for these calls.
func (s *Supervisor) newLog() *slog.Logger {
	return logqueue.New(s.opts.log, func(write func()) {
		ended := s.calls.begin("the logger's Handle")
		go func() {
			defer ended()
			write()
		}()
	})
}

// logEvent logs transitions, not repetitions. That nodes disagree, the transport
// that has found it out logs.
func logEvent(log *slog.Logger, e Event) {
	switch e := e.(type) {
	case NodeConnected:
		log.Info("node connected", "node", e.Node, "topology", e.Topology, "took", e.Duration, "failures", e.Failures)
	case NodeDisconnected:
		log.Info("node disconnected", "node", e.Node, "topology", e.Topology, "cause", e.Cause, "after", e.Duration)
	case ConnectFailed:
		if e.Attempt == 1 {
			log.Warn("connecting failed, trying on", "node", e.Node, "topology", e.Topology, "error", e.Err)
		}
	case DisconnectFailed:
		if e.Attempt == 1 {
			log.Warn("disconnecting failed, trying on", "node", e.Node, "topology", e.Topology, "error", e.Err)
		}
	case StrategyFailed:
		if e.Failures == 1 {
			log.Warn("discovery failed, its last answer stays", "topology", e.Topology, "error", e.Err)
		}
	}
}
