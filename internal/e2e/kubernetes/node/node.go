// Package node runs nodes of a cluster as processes of their own, for the tests of
// strategy/kubernetes. A process is the test's program once more, which has to call
// Main first of all:
//
//	func TestMain(m *testing.M) {
//		node.Main()
//		os.Exit(m.Run())
//	}
//
// It discovers the others as its Config says, holds a mesh, and reports on its
// standard output, a line of JSON whenever something changes.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/e2e/process"
	"github.com/libcluster-go/cluster/strategy/dns"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const lookEvery = 20 * time.Millisecond

// A Config is what a node does.
type Config struct {
	// Bind is where its mesh listens, and what it advertises.
	Bind string

	// Secret is the mesh's.
	Secret string

	// RemoveGrace is the supervisor's.
	RemoveGrace time.Duration

	// Nameserver is asked for all names, "host:port", if it isn't empty.
	Nameserver string

	// Kubernetes or DNS is how it discovers the others. With neither it waits to
	// be discovered.
	Kubernetes *kubernetes.Strategy
	DNS        *DNS
}

// DNS is the part of a [dns.Kubernetes] that a test chooses; the Nameserver is who
// is asked.
type DNS struct {
	Service, Namespace string
	Port               int
	SRV                bool
	Interval           time.Duration
}

func (c Config) strategy() cluster.Strategy {
	switch {
	case c.Kubernetes != nil:
		return *c.Kubernetes
	case c.DNS != nil:
		return dns.Kubernetes{
			Service: c.DNS.Service, Namespace: c.DNS.Namespace, Port: c.DNS.Port, SRV: c.DNS.SRV,
			Interval: c.DNS.Interval, Servers: []string{c.Nameserver},
		}
	default:
		return static.Strategy{}
	}
}

// resolver is who resolves the names of nodes.
func (c Config) resolver() *net.Resolver {
	if c.Nameserver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, c.Nameserver)
	}}
}

// A Report is what a node says of itself.
type Report struct {
	Linked   []cluster.Node // with which a link is up
	Cuts     []Cut          // links that were up, in order
	State    cluster.State  // of the strategy
	Failures []string       // of the strategy, in order, each once
}

// A Cut is a link that is no more.
type Cut struct {
	Node  cluster.Node
	Cause string
}

// Main is a node, and doesn't return, if the process is to be one; else it does
// nothing.
func Main() { process.Main(run) }

// run is a node until ctx is done.
func run(ctx context.Context, cfg Config) error {
	net.DefaultResolver = cfg.resolver() // a host of the tests has the machine's resolv.conf
	// Without the exchange of peers, every link is one that the strategy has found.
	m, err := mesh.Listen(mesh.Config{
		Secrets: []string{cfg.Secret}, Bind: cfg.Bind, Advertise: cfg.Bind, NoPeerExchange: true,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "e2e", Strategy: cfg.strategy()}},
		cluster.WithTransport(m), cluster.WithRemoveGrace(cfg.RemoveGrace))
	if err != nil {
		return err
	}
	if err := report(ctx, sup); err != nil {
		return err
	}
	return sup.Wait()
}

// report says what has changed, until ctx is done.
func report(ctx context.Context, sup *cluster.Supervisor) error {
	out := json.NewEncoder(os.Stdout)
	events := sup.Events(ctx)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var now Report
	for changed := true; ; {
		if state := sup.Status().Topologies[0].State; state != now.State {
			now.State, changed = state, true
		}
		if changed {
			now.Linked = sup.Nodes()
			if err := out.Encode(now); err != nil {
				return err
			}
		}
		select {
		case e := <-events:
			changed = now.take(e)
		case <-look.C:
			changed = false
		case <-ctx.Done():
			return nil
		}
	}
}

// take takes an event, and returns whether it matters.
func (r *Report) take(e cluster.Event) bool {
	switch e := e.(type) {
	case cluster.NodeConnected:
	case cluster.NodeDisconnected:
		r.Cuts = append(r.Cuts, Cut{e.Node, e.Cause.Error()})
	case cluster.StrategyFailed:
		if slices.Contains(r.Failures, e.Err.Error()) {
			return false
		}
		r.Failures = append(r.Failures, e.Err.Error())
	case cluster.Lagged: // links may have been cut unseen
		r.Cuts = append(r.Cuts, Cut{Cause: fmt.Sprintf("%d events were missed", e.N)})
	default:
		return false
	}
	return true
}
