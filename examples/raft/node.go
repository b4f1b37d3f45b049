package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/local"
	"github.com/libcluster-go/cluster/transport/mesh"
	"go.etcd.io/bbolt"
)

// raftTimeout bounds what waits for Raft or for another server.
const raftTimeout = 5 * time.Second

// Settings are what makes a node.
type settings struct {
	name     string   // by which Raft knows it: it may run elsewhere, if dir goes with it
	dir      string   // for its log, which must not be lost while it has a vote
	registry string   // where the nodes of this machine find each other; empty means a folder of the user's
	secrets  []string // of the mesh
	expect   int      // how many nodes a new cluster begins with; 0: it is joined
}

// A node is a server of Raft whose peers come from discovery, and which all run
// over the mesh.
type node struct {
	say    func(format string, args ...any) // tells what changes; called from any goroutine
	expect int                              // watchMembers owns it

	mesh  *mesh.Mesh
	sup   *cluster.Supervisor
	log   *raftboltdb.BoltStore
	raft  *raft.Raft
	store *store

	stop    context.CancelFunc // ends working
	working sync.WaitGroup
}

// open starts a node, which close ends. When ctx is done it no longer discovers
// others.
func open(ctx context.Context, s settings, say func(format string, args ...any)) (*node, error) {
	n := &node{say: say, expect: s.expect, stop: func() {}}
	if err := n.open(ctx, s); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) open(ctx context.Context, s settings) error {
	quiet := slog.New(slog.DiscardHandler) // a service would log; here the output is for what is shown
	var err error
	n.mesh, err = mesh.Listen(mesh.Config{Name: s.name, Secrets: s.secrets, Bind: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return err
	}
	if err := n.openRaft(s); err != nil {
		return err
	}
	sets, err := n.mesh.ListenService(setService)
	if err != nil {
		return err
	}
	nodes := local.Strategy{Cluster: "raft-example", Dir: s.registry}
	n.sup, err = cluster.Start(ctx, []cluster.Topology{{Name: "raft", Strategy: nodes}},
		cluster.WithTransport(n.mesh), cluster.WithLogger(quiet))
	if err != nil {
		return err
	}
	ctx, n.stop = context.WithCancel(ctx)
	n.working.Go(func() { n.watchMembers(ctx) })
	n.working.Go(func() { n.watchLeader(ctx) })
	n.working.Go(func() { n.serveSets(sets) })
	return nil
}

// openRaft opens what is on disk, and goes on from there.
func (n *node) openRaft(s settings) error {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(s.name)
	config.Logger = hclog.NewNullLogger() // as quiet
	streams, err := newLayer(n.mesh)
	if err != nil {
		return err
	}
	if n.log, err = raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(s.dir, "raft.db"),
		BoltOptions: &bbolt.Options{Timeout: raftTimeout},
	}); err != nil {
		return fmt.Errorf("the log in %s: %w", s.dir, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(s.dir, 2, config.Logger)
	if err != nil {
		return err
	}
	n.store = &store{
		values:  map[string]string{},
		changed: func(e Entry) { n.say("%s = %s", e.Key, e.Value) },
		members: func(voters []string) { n.say("voters: %s", strings.Join(voters, " ")) },
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streams, ServerAddressProvider: streams, MaxPool: 3, Timeout: raftTimeout, Logger: config.Logger,
	})
	if n.raft, err = raft.NewRaft(config, n.store, n.log, n.log, snapshots, transport); err != nil {
		return errors.Join(err, transport.Close())
	}
	return nil
}

// watchLeader tells who leads, as this node sees it, until ctx is done.
func (n *node) watchLeader(ctx context.Context) {
	changes := make(chan raft.Observation, 1)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	defer n.raft.DeregisterObserver(observer)
	told := ""
	for {
		leader := n.leader()
		if leader == "" {
			leader = "none"
		}
		if leader != told {
			n.say("leader: %s", leader)
			told = leader
		}
		select {
		case <-changes: // one that is dropped came after one that waits here
		case <-ctx.Done():
			return
		}
	}
}

// leader is empty while none is known.
func (n *node) leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// close leaves, and if this node leads, another does then. It stays a voter, and
// may be opened again.
func (n *node) close() error {
	var errs []error
	n.stop()
	if n.raft != nil && n.raft.State() == raft.Leader {
		_ = n.raft.LeadershipTransfer().Error() // without it, the others elect one after a while
	}
	if n.sup != nil {
		n.sup.Stop()
		errs = append(errs, n.sup.Wait())
	}
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close()) // and all streams, for which Raft would wait
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	n.working.Wait()
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	return errors.Join(errs...)
}
