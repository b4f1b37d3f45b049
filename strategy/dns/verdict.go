package dns

import (
	"math"
	"time"

	"github.com/libcluster-go/cluster"
)

// forever is the TTL of what says nothing about that.
const forever = time.Duration(math.MaxInt64)

// A result is what came of one query.
type result struct {
	nodes []cluster.Node
	// ttl is how long it holds.
	ttl time.Duration
	// none is why there are no nodes if servers said so well: NXDOMAIN, or no
	// records of the type.
	none []error
	// errs are what has failed: the nodes are a part of the answer then.
	errs []error
}

// verdict says what the roster is told after a round, in order; it is never
// nothing. Only an answer of which every part is good is whole.
func verdict(authoritative bool, results []result) []cluster.Change {
	var nodes []cluster.Node
	var errs []error
	for _, r := range results {
		nodes = append(nodes, r.nodes...)
		errs = append(errs, r.errs...)
		if !authoritative {
			errs = append(errs, r.none...)
		}
	}
	err := oneError(errs)
	switch {
	case err == nil && authoritative:
		return []cluster.Change{{Kind: cluster.Replaced, Nodes: nodes}}
	case err == nil:
		return []cluster.Change{{Kind: cluster.Added, Nodes: nodes}}
	case len(nodes) > 0:
		return []cluster.Change{{Kind: cluster.Added, Nodes: nodes}, {Kind: cluster.Failed, Err: err}}
	default:
		return []cluster.Change{{Kind: cluster.Failed, Err: err}}
	}
}

// holds is how long what a round told holds: for ever if that is only a failure.
func holds(said []cluster.Change, results []result) time.Duration {
	least := forever
	if said[0].Kind == cluster.Failed {
		return least
	}
	for _, r := range results {
		least = min(least, r.ttl)
	}
	return least
}
