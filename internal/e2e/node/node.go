// Package node runs nodes of a cluster as processes of their own, for tests that
// have several hosts. A process is the test's program once more, which has to
// call Main first of all:
//
//	func TestMain(m *testing.M) {
//		node.Main()
//		os.Exit(m.Run())
//	}
//
// It gossips, holds a mesh, and reports on its standard output, a line of JSON
// whenever something changes. The mesh doesn't exchange peers, so that every link
// is one that gossip has found.
package node

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"
	"github.com/libcluster-go/cluster/transport/mesh"

	"github.com/libcluster-go/cluster/internal/e2e/process"
)

const lookEvery = 20 * time.Millisecond

// A Config is what a node does.
type Config struct {
	// Bind is where its mesh listens, and what it advertises.
	Bind string

	// Secret is the mesh's and gossip's.
	Secret string

	// Gossip is how it discovers the others, but for the Secrets.
	Gossip gossip.Strategy

	// Heartbeat and DownAfter are the mesh's.
	Heartbeat, DownAfter time.Duration
}

// A Report is what a node says of itself.
type Report struct {
	Up     bool           // always, once there is one
	Linked []cluster.Node // with which a link is up
	Heard  []cluster.Node // by gossip
	Forged int64          // packets that were dropped for having another secret
	Fails  string         // why gossip does; empty while it doesn't
	Warned []string       // the lines of its log that warn
}

func (r Report) equal(other Report) bool {
	return r.Up == other.Up && slices.Equal(r.Linked, other.Linked) && slices.Equal(r.Heard, other.Heard) &&
		r.Forged == other.Forged && r.Fails == other.Fails && slices.Equal(r.Warned, other.Warned)
}

// Main is a node, and doesn't return, if the process is to be one; else it does
// nothing.
func Main() { process.Main(run) }

// run is a node until ctx is done.
func run(ctx context.Context, cfg Config) error {
	m, err := mesh.Listen(mesh.Config{
		Secrets: []string{cfg.Secret}, Bind: cfg.Bind, Advertise: cfg.Bind,
		Heartbeat: cfg.Heartbeat, DownAfter: cfg.DownAfter, NoPeerExchange: true,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	s := cfg.Gossip
	s.Secrets, s.Stats = []string{cfg.Secret}, new(gossip.Stats)
	var warned warnings
	log := slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, &warned), nil))
	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "e2e", Strategy: s}}, cluster.WithTransport(m), cluster.WithLogger(log))
	if err != nil {
		return err
	}
	if err := report(ctx, sup, s.Stats, warned.all); err != nil {
		return err
	}
	return sup.Wait()
}

// report says what has changed, until ctx is done.
func report(ctx context.Context, sup *cluster.Supervisor, stats *gossip.Stats, warned func() []string) error {
	out := json.NewEncoder(os.Stdout)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var last Report
	for {
		now := Report{Up: true, Linked: sup.Nodes(), Forged: stats.Forged.Load(), Warned: warned()}
		topology := sup.Status().Topologies[0]
		for _, n := range topology.Nodes {
			now.Heard = append(now.Heard, n.Node)
		}
		if topology.State == cluster.StateFailing {
			now.Fails = topology.LastError.Error()
		}
		if !now.equal(last) {
			if err := out.Encode(now); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}
