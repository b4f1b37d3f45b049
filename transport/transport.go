// Package transport holds what strategies, topologies and transports agree on:
// the [Node] that names an instance of a service, and the [Transport] that
// holds the connections to other nodes.
//
// The default transport is package mesh; package memory is one for tests. A
// transport of one's own implements [Transport], and, where it can, the
// companions [Canonicalizer], [Notifier], [Departer], [Forgetter] and [Agreer], which
// make healing faster, counting exact and a partition visible:
//
//	type wires struct{ … }
//
//	func (w *wires) Self() transport.Node                                    { … }
//	func (w *wires) Connect(ctx context.Context, n transport.Node) error     { … }
//	func (w *wires) Disconnect(ctx context.Context, n transport.Node) error  { … }
//	func (w *wires) ListNodes(ctx context.Context) ([]transport.Node, error) { … }
//
// # Concurrency
//
// Every method of a transport is called from goroutines of the supervisor's
// own, several at once, never under a lock. Node is a value.
package transport

import (
	"context"
	"errors"
)

// A Transport holds the connections to other nodes. The supervisor calls its
// methods from many goroutines at once; each must return soon after its
// context is done, and may be called again after any outcome.
type Transport interface {
	// Self returns this node, which never changes while the transport lives.
	// Empty means that the transport doesn't know its own name.
	Self() Node

	// Connect links this node with n and returns nil once the link is up, or
	// when it already was. An error that wraps [ErrSelf], [ErrPartial] or
	// [ErrUnwanted] tells the caller more than that it failed.
	Connect(ctx context.Context, n Node) error

	// Disconnect ends the link with n, and returns nil when there was none.
	Disconnect(ctx context.Context, n Node) error

	// ListNodes returns the nodes that are linked now, without this one, each by
	// the name by which Connect got it unless the transport is a
	// [Canonicalizer]. An error means that they are unknown, not that there are
	// none.
	ListNodes(ctx context.Context) ([]Node, error)
}

// A Canonicalizer is a [Transport] that may know one node by several names.
type Canonicalizer interface {
	// Canonical returns the linked nodes, in the form in which ListNodes has
	// them, that n stands for: none when nothing that goes by n is linked, and
	// several when n is a name with several addresses. It must not block, and
	// the caller owns the slice.
	Canonical(n Node) []Node
}

// A Notifier is a [Transport] that tells when its links change.
type Notifier interface {
	// Notify returns a channel that holds a token whenever the answer of
	// ListNodes may have changed since the last one was taken: edge-triggered
	// and coalesced. Each call returns a channel of its own, which is served
	// until ctx is done; whether it is closed then is left open.
	Notify(ctx context.Context) <-chan struct{}
}

// A Departer is a [Transport] that can tell a node that left from one that was
// lost.
type Departer interface {
	// Departed reports whether the latest link with n was ended on purpose: n
	// announced that it leaves, or said that this node is unwanted. Such a
	// node isn't redialled at once, but after a first delay. It must not block.
	Departed(n Node) bool
}

// A Forgetter is a [Transport] that dials nodes by itself after they were lost.
type Forgetter interface {
	// Forget has it stop looking for n, of which the source has said that it is
	// gone. It leaves links alone, and must not block.
	Forget(n Node)
}

// What Connect may wrap, beside errors of the transport's own.
var (
	// ErrSelf says that the node is this very node: a name or an address that
	// leads back here.
	ErrSelf = errors.New("transport: that node is this node itself")

	// ErrPartial says that a name stands for several addresses, of which at
	// least one is linked and at least one could not be reached.
	ErrPartial = errors.New("transport: some addresses of the name are linked and some are not")

	// ErrUnwanted says that the other node has disconnected this one on
	// purpose, so that dialling again soon won't help.
	ErrUnwanted = errors.New("transport: the other node doesn't want this link")
)
