package dns

import (
	"errors"
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
	none error
	// err is what has failed: the nodes are a part of the answer then.
	err error
}

// verdict says what the roster is told after a round, in order; it is never
// nothing. Only an answer of which every part is good is whole.
func verdict(authoritative bool, results []result) []cluster.Change {
	var nodes []cluster.Node
	var errs []error
	for _, r := range results {
		nodes = append(nodes, r.nodes...)
		errs = append(errs, r.err)
		if !authoritative {
			errs = append(errs, r.none)
		}
	}
	err := errors.Join(errs...)
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

// leastTTL is how long all results hold.
func leastTTL(results []result) time.Duration {
	least := forever
	for _, r := range results {
		least = min(least, r.ttl)
	}
	return least
}
