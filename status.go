package cluster

import (
	"maps"
	"slices"
	"time"
)

// Status is what a supervisor knows at one moment.
type Status struct {
	// Topologies are in the order in which Start or Apply had them.
	Topologies []TopologyStatus
	// Diverged are the transports whose nodes keep disagreeing about who is
	// linked with whom: the last such event of each that isn't over.
	Diverged []Diverged
}

// A State says what a topology's strategy is doing.
type State string

// The states of a strategy.
const (
	// StateStarting: it has said nothing yet.
	StateStarting State = "starting"
	// StateRunning: its last word was an answer.
	StateRunning State = "running"
	// StateFailing: its last word was a failure; the last answer stays.
	StateFailing State = "failing"
	// StateWaiting: its Run failed and is called again after a backoff.
	StateWaiting State = "waiting"
	// StateEnded: its Run returned nil; what it found stays wanted.
	StateEnded State = "ended"
	// StateStopped: the supervisor has stopped.
	StateStopped State = "stopped"
)

// TopologyStatus is what is known of one topology.
type TopologyStatus struct {
	Name     string
	Strategy string // its type
	State    State
	// LastSuccess is when the strategy last gave an answer; zero if never.
	LastSuccess time.Time
	// LastFailure is when it last failed, and LastError how; zero and nil if
	// never.
	LastFailure time.Time
	LastError   error
	// Failures counts those since it last worked, as those of a StrategyFailed.
	Failures int
	// ListError is what ListNodes returned, if it failed the last time: until
	// it answers again, what is linked is as it was.
	ListError error
	// Isolated is true while nothing is linked on the transport, however it was
	// found, though the topology names other nodes that it wants linked: from
	// its first answer until the first link, and after the loss of the last.
	Isolated bool
	// Nodes are those that the topology has heard of, in order.
	Nodes []NodeStatus
}

// NodeStatus is what is known of a node, by the name by which its topology
// knows it.
type NodeStatus struct {
	Node Node
	// Want is what this topology wants of it; another may want more.
	Want Want
	// Connected says whether it is linked, and Since when that became so or
	// ceased to be.
	Connected bool
	Since     time.Time
	// Self is true if the name was found to lead back to this node.
	Self bool
	// Attempts counts those in vain since it was last linked, and LastError is
	// that of the latest.
	Attempts  int
	LastError error
	// NextTry is when it is dialled next, zero if that isn't planned. It may
	// be past while an attempt is under way or waits for its turn.
	NextTry time.Time
	// RemoveAt is when a lingering node is given up, zero while its clock is
	// stopped. It may be past while an answer of nobody is being confirmed.
	RemoveAt time.Time
}

// nodeStatuses is what the core knows of a topology's nodes.
func (c *core) nodeStatuses(w *wants) []NodeStatus {
	names := map[Node]bool{}
	for n := range w.answers {
		names[n] = true
	}
	for n := range w.hints {
		names[n] = true
	}
	nodes := make([]NodeStatus, 0, len(names))
	for _, n := range slices.Sorted(maps.Keys(names)) {
		s := NodeStatus{Node: n, Want: w.want(n)}
		if a := w.answers[n]; a != nil && a.want == Lingering && !a.since.IsZero() {
			s.RemoveAt = a.since.Add(c.removeGrace)
		}
		if t := c.targets[n]; t != nil {
			s.Connected, s.Since, s.Self = t.up, t.changed, t.self
			s.Attempts, s.LastError = t.attempts, t.err
			if t.dials {
				s.NextTry = t.next
			}
		}
		nodes = append(nodes, s)
	}
	return nodes
}

// Status returns what is known of each topology and its nodes. The caller owns
// it.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	runners := slices.Clone(s.runners)
	s.mu.Unlock()
	var st Status
	for _, r := range runners {
		st.Topologies = append(st.Topologies, r.status())
	}
	s.hub.Publish(func() { st.Diverged = s.allDiverged() })
	return st
}

// Nodes returns the other nodes that are linked on the supervisor's transports,
// however they were found, in order.
func (s *Supervisor) Nodes() []Node {
	var nodes []Node
	s.hub.Publish(func() { nodes = slices.Sorted(maps.Keys(s.told)) })
	return nodes
}
