package transport

// An Agreer is a [Transport] whose nodes tell each other whom they are linked
// with, so that each knows whether all see the same. The supervisor asks it
// whenever it lists the nodes, and for each [Agreement] that somebody waits for;
// one that is a [Notifier] besides leaves tokens for changes of this, too.
type Agreer interface {
	// Agreement returns what is known now, of the links as ListNodes has them or
	// had them when it was asked last. It must not block, and the caller owns
	// what it returns.
	Agreement() Agreement
}

// An Agreement is what a node knows of how far it and those that are linked with
// it see the same nodes. Nodes that can't tell count neither way.
type Agreement struct {
	// Agreed is true once they have seen the same for long enough to rely on:
	// no node has come, gone or disagreed meanwhile.
	Agreed bool

	// Diverged is true once they have disagreed for long enough to be worried,
	// until they have agreed.
	Diverged bool

	// Differ are the linked nodes that say something else than this one, in
	// order.
	Differ []Node

	// Apart are the pairs of nodes that aren't linked with each other, in order,
	// this node's own included. It is bounded and may be incomplete: while
	// disagreement is young, and where nodes don't tell enough.
	Apart []Pair
}

// A Pair is two nodes, of which the smaller comes first.
type Pair [2]Node

func (p Pair) String() string { return string(p[0]) + " and " + string(p[1]) }
