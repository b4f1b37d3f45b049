package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"github.com/libcluster-go/cluster"
)

// retryEvery is how soon a step is tried again that failed, as adding a server
// does while another is being added.
const retryEvery = time.Second

// Discovery only ever adds to Raft's voters. That a node is lost says nothing
// about whether it comes back, and a majority that forgets the lost ones, one
// after the other, is no majority any more: two halves of a cut network would
// each shrink to what they see and go on alone. Who is gone for good only a
// person knows, who tells it with the command remove.

// watchMembers founds the cluster or adds servers to it, whenever a node comes or
// this one becomes the leader, until ctx is done.
func (n *node) watchMembers(ctx context.Context) {
	events := n.mesh.Events(ctx)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-n.raft.LeaderCh():
		case <-retry.C:
		}
		var err error
		if n.raft.State() == raft.Leader {
			err = n.addPeers()
		} else {
			err = n.found()
		}
		if err != nil {
			n.say("error: %v", err)
		}
	}
}

// found makes a new cluster if it is this node's turn, and it isn't a member of
// one.
func (n *node) found() error {
	servers := founders(n.mesh.Self(), n.peers(), n.expect)
	if servers == nil {
		return nil
	}
	err := n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) { // which a node has that is a member
		return fmt.Errorf("founding a cluster: %w", err)
	}
	n.expect = 0
	return nil
}

// founders are the servers that self makes a new cluster of; nil if it doesn't.
//
// One node does it, so that there is one cluster: of exactly as many as are
// expected, that with the first name. One too many, and nobody does: two nodes
// could see different ones, and found two clusters. The others have no state until
// the founder's leader gives it to them.
func founders(self cluster.Node, peers []cluster.Node, expect int) []raft.Server {
	all := append([]cluster.Node{self}, peers...)
	if expect == 0 || len(all) != expect {
		return nil
	}
	slices.SortFunc(all, func(a, b cluster.Node) int { return cmp.Compare(a.Name(), b.Name()) })
	if all[0] != self {
		return nil
	}
	servers := make([]raft.Server, 0, len(all))
	for _, node := range all {
		servers = append(servers, server(node))
	}
	return servers
}

// server is known by its name, which it keeps wherever it runs.
func server(node cluster.Node) raft.Server {
	return raft.Server{ID: raft.ServerID(node.Name()), Address: raft.ServerAddress(node)}
}

// addPeers makes each peer a voter that isn't one. Only the leader can.
func (n *node) addPeers() error {
	voters, err := n.voters()
	if err != nil {
		return err
	}
	for _, node := range n.peers() {
		if slices.Contains(voters, node.Name()) {
			continue
		}
		s := server(node)
		err := n.raft.AddVoter(s.ID, s.Address, 0, raftTimeout).Error()
		if err != nil && n.raft.State() == raft.Leader { // else it is the next leader's to do
			return fmt.Errorf("adding %s: %w", node, err)
		}
	}
	return nil
}

// remove takes a server from the voters, for good. It fails while that is linked,
// since it would be found and added again.
func (n *node) remove(name string) error {
	voters, err := n.voters()
	switch {
	case err != nil:
		return err
	case name == n.mesh.Self().Name() || slices.ContainsFunc(n.peers(), func(p cluster.Node) bool { return p.Name() == name }):
		return fmt.Errorf("%s is running: end it first", name)
	case !slices.Contains(voters, name):
		return fmt.Errorf("%s is no voter", name)
	}
	return n.raft.RemoveServer(raft.ServerID(name), 0, raftTimeout).Error()
}

// voters are the names of the servers that Raft counts.
func (n *node) voters() ([]string, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	return names(f.Configuration()), nil
}

func names(c raft.Configuration) []string {
	var all []string
	for _, s := range c.Servers {
		all = append(all, string(s.ID))
	}
	slices.Sort(all)
	return all
}

// peers are the nodes that are linked now.
func (n *node) peers() []cluster.Node {
	var nodes []cluster.Node
	for _, p := range n.mesh.Peers() {
		nodes = append(nodes, p.Node)
	}
	return nodes
}
