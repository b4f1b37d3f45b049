package main

import (
	"context"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// Topics is publishing and subscribing over a mesh. A topic is a subject of its
// messages: all linked nodes are sent what is published, and those that haven't
// subscribed to it when it comes drop it, which the mesh's log says now and then.
// Each message comes at most once, and those of one node and topic in order.
type topics struct{ mesh *mesh.Mesh }

// subscribe has hear called for what other nodes publish, for one message at a
// time of each node; it replaces what was there before. Its ctx is done when the
// mesh is closed.
func (t topics) subscribe(topic string, hear func(ctx context.Context, from cluster.Node, data []byte)) error {
	return t.mesh.Handle(subject(topic), func(ctx context.Context, msg mesh.Message) { hear(ctx, msg.From, msg.Data) })
}

// unsubscribe ends that. A call that is under way goes on.
func (t topics) unsubscribe(topic string) error { return t.mesh.Handle(subject(topic), nil) }

// publish waits, until ctx is done, for nodes that are slow to take it; the others
// have it meanwhile. Its error names the nodes that don't get it.
func (t topics) publish(ctx context.Context, topic string, data []byte) error {
	return t.mesh.Broadcast(ctx, subject(topic), data)
}

// publishTo is publish for one node.
func (t topics) publishTo(ctx context.Context, n cluster.Node, topic string, data []byte) error {
	return t.mesh.Send(ctx, n, subject(topic), data)
}

// subject keeps topics apart from other uses of the mesh.
func subject(topic string) string { return "topic/" + topic }
