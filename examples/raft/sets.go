package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
	"time"
)

const (
	// setService is what every server listens for, so that each may be asked
	// by another to set a key: net/rpc over streams.
	setService = "set"

	// setAgain is after what time a set that no leader took is tried again.
	setAgain = 100 * time.Millisecond
)

var errNoLeader = errors.New("there is no leader")

// set has the leader add an entry to the log, whichever node that is, and returns
// when a majority has it. Until ctx is done it tries again; an entry whose answer
// was lost is then there twice, which for a key's value is no harm.
func (n *node) set(ctx context.Context, e Entry) error {
	for {
		err := n.trySet(ctx, e)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(setAgain):
		case <-ctx.Done():
			return fmt.Errorf("no leader took %s = %s: %w", e.Key, e.Value, err)
		}
	}
}

func (n *node) trySet(ctx context.Context, e Entry) error {
	leader := n.leader()
	switch leader {
	case "":
		return errNoLeader
	case n.mesh.Self().Name():
		return n.apply(e)
	}
	conn, err := n.dialServer(ctx, leader)
	if err != nil {
		return err
	}
	client := rpc.NewClient(conn)
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends the call
	return client.Call("Sets.Set", e, nil)
}

// dialServer opens a stream to where a server is now.
func (n *node) dialServer(ctx context.Context, name string) (net.Conn, error) {
	for _, p := range n.peers() {
		if p.Name() == name {
			return n.mesh.Dial(ctx, p, setService)
		}
	}
	return nil, fmt.Errorf("the leader %s isn't linked", name)
}

// apply adds an entry to the log. Only the leader can.
func (n *node) apply(e Entry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f := n.raft.Apply(data, raftTimeout)
	if err := f.Error(); err != nil {
		return err
	}
	if err, failed := f.Response().(error); failed {
		return err
	}
	return nil
}

// Sets is what other nodes call.
type Sets struct{ node *node }

// Set adds an entry to the log, if this node leads.
func (s *Sets) Set(e Entry, _ *struct{}) error { return s.node.apply(e) }

// serveSets ends with the mesh, and all its streams with it.
func (n *node) serveSets(l net.Listener) {
	server := rpc.NewServer()
	_ = server.Register(&Sets{n}) // it has the form that is asked for
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		calls.Go(func() { server.ServeConn(conn) })
	}
}
