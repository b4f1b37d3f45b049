package gossip

import (
	"time"

	"github.com/libcluster-go/cluster"
)

// hintLife is how long a node is dialled at least after it was passed on the last
// time, if it can't be reached: what cluster.WithHintTTL is by default.
const hintLife = 10 * time.Minute

// A ledger holds the nodes that were passed on and may be dialled still, with when
// that was the last time.
type ledger struct {
	limit int
	nodes map[cluster.Node]time.Time
	full  bool // a node wasn't admitted since that was last asked
}

func newLedger(limit int) ledger {
	return ledger{limit: limit, nodes: map[cluster.Node]time.Time{}}
}

// admits reports whether a node may be passed on.
func (l *ledger) admits(n cluster.Node) bool {
	if _, held := l.nodes[n]; held || len(l.nodes) < l.limit {
		return true
	}
	l.full = true
	return false
}

// note has nodes been passed on.
func (l *ledger) note(now time.Time, nodes ...cluster.Node) {
	for _, n := range nodes {
		l.nodes[n] = now
	}
}

// expire drops the nodes that are given up by now, which none is while the roster
// is told of failures.
func (l *ledger) expire(now time.Time) {
	for n, at := range l.nodes {
		if now.Sub(at) >= hintLife {
			delete(l.nodes, n)
		}
	}
}

// remove drops a node that has left, and returns all names that were passed on
// for its address.
func (l *ledger) remove(n cluster.Node) []cluster.Node {
	names := []cluster.Node{n}
	delete(l.nodes, n)
	for other := range l.nodes {
		if other.Addr() == n.Addr() {
			names = append(names, other)
			delete(l.nodes, other)
		}
	}
	return names
}

// turnedAway reports whether a node wasn't admitted since it was last called.
func (l *ledger) turnedAway() bool {
	full := l.full
	l.full = false
	return full
}
