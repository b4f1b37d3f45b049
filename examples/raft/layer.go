package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// raftService is what the servers listen for, and dial, to run Raft.
const raftService = "raft"

// A layer carries Raft over the mesh: it is a [raft.StreamLayer] whose
// connections are streams, encrypted and between nodes that have proved
// themselves, and a [raft.ServerAddressProvider] that asks the mesh.
type layer struct {
	net.Listener

	mesh *mesh.Mesh
}

func newLayer(m *mesh.Mesh) (*layer, error) {
	l, err := m.ListenService(raftService)
	if err != nil {
		return nil, err
	}
	return &layer{l, m}, nil
}

// Dial is called by Raft, from a goroutine for each server.
func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.mesh.Dial(ctx, cluster.Node(address), raftService)
}

// ServerAddr is called by Raft before it dials: a server is known by its name, and
// the address that it was added with may be an old one. Where it is, the mesh
// knows.
func (l *layer) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	for _, p := range l.mesh.Peers() {
		if p.Node.Name() == string(id) {
			return raft.ServerAddress(p.Node), nil
		}
	}
	return "", fmt.Errorf("server %s: %w", id, mesh.ErrNoNode)
}
