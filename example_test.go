package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/memory"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// Without WithTransport, Start makes a mesh from CLUSTER_SECRET, CLUSTER_BIND
// and CLUSTER_ADVERTISE; here the network is one of the memory.
func ExampleStart() {
	ctx := context.Background()
	network := memory.New()
	web1, _ := network.Join("web1:4370")
	_, _ = network.Join("web2:4370")

	sup, err := cluster.Start(ctx, []cluster.Topology{{
		Name:     "web",
		Strategy: static.Strategy{Hosts: []string{"web1:4370", "web2:4370"}}, // this node may be listed too
	}}, cluster.WithTransport(web1))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sup.WaitNodes(ctx, 1), sup.Nodes())
	sup.Stop()
	fmt.Println(sup.Wait())
	// Output:
	// <nil> [web2:4370]
	// <nil>
}

// WaitConverged waits for all that can be reached, and agree on who is there;
// web3 isn't running.
func ExampleSupervisor_WaitConverged() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.New()
	web1, _ := network.Join("web1:4370")
	_, _ = network.Join("web2:4370")

	sup, err := cluster.Start(ctx, []cluster.Topology{{
		Name:     "web",
		Strategy: static.Strategy{Hosts: []string{"web1:4370", "web2:4370", "web3:4370"}},
	}}, cluster.WithTransport(web1))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := sup.WaitConverged(ctx); err != nil {
		fmt.Println(err) // names what is missing, and why
	}
	fmt.Println(sup.Nodes())
	sup.Stop()
	_ = sup.Wait()
	// Output: [web2:4370]
}

// What is wrong is said before anything runs.
func ExampleStart_mistake() {
	_, err := cluster.Start(context.Background(), []cluster.Topology{{
		Strategy: static.Strategy{Hosts: []string{"web1:4370"}},
	}})
	fmt.Println(err)
	// Output: cluster: topology 0 (strategy static.Strategy) has no Name; give it one, such as "web"
}

// inventory stands for a source of one's own: a database, an API, a file.
type inventory struct{}

func (inventory) Select(_ context.Context, to *[]cluster.Node, _ string) error {
	*to = []cluster.Node{"web1:4370", "web2:4370"}
	return nil
}

// A strategy of one's own is a func that is asked again and again. Its error
// removes nobody.
func ExamplePoll() {
	ctx := context.Background()
	network := memory.New()
	web1, _ := network.Join("web1:4370")
	_, _ = network.Join("web2:4370")
	var db inventory

	strategy := cluster.Poll(5*time.Second, func(ctx context.Context) ([]cluster.Node, error) {
		var nodes []cluster.Node
		err := db.Select(ctx, &nodes, "SELECT address FROM instances")
		return nodes, err
	})

	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "web", Strategy: strategy}}, cluster.WithTransport(web1))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sup.WaitNodes(ctx, 1), sup.Nodes())
	sup.Stop()
	_ = sup.Wait()
	// Output: <nil> [web2:4370]
}

// A pool stands for connections of one's own.
type pool struct {
	mu    sync.Mutex
	conns map[cluster.Node]bool
}

func (p *pool) Connect(_ context.Context, n cluster.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[n] = true
	return nil
}

func (p *pool) Disconnect(_ context.Context, n cluster.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, n)
	return nil
}

func (p *pool) ListNodes(context.Context) ([]cluster.Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.conns)), nil
}

// Three funcs are a transport: here there is no mesh and no port.
func ExampleTopology_ownTransport() {
	ctx := context.Background()
	hosts := static.Strategy{Hosts: []string{"db1:5432", "db2:5432"}}
	conns := &pool{conns: map[cluster.Node]bool{}}

	sup, err := cluster.Start(ctx, []cluster.Topology{{
		Name:       "databases",
		Strategy:   hosts,
		Connect:    conns.Connect,    // func(ctx context.Context, n cluster.Node) error
		Disconnect: conns.Disconnect, // func(ctx context.Context, n cluster.Node) error
		ListNodes:  conns.ListNodes,  // func(ctx context.Context) ([]cluster.Node, error)
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sup.WaitNodes(ctx, 2), sup.Nodes())
	sup.Stop()
	_ = sup.Wait()
	// Output: <nil> [db1:5432 db2:5432]
}

// The mesh that Start made carries messages.
func ExampleSupervisor_Mesh() {
	ctx := context.Background()
	_ = os.Setenv(cluster.EnvSecret, mesh.NewSecret()) // usually the deployment's, and the same for all nodes
	_ = os.Setenv(cluster.EnvBind, "127.0.0.1:0")
	defer os.Unsetenv(cluster.EnvSecret)
	defer os.Unsetenv(cluster.EnvBind)

	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "alone", Strategy: static.Strategy{}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := sup.Mesh()
	err = m.Handle("greet", func(_ context.Context, msg mesh.Message) {
		fmt.Printf("%s says %s\n", msg.From, msg.Data)
	})
	if err != nil {
		fmt.Println(err)
	}
	err = m.Broadcast(ctx, "greet", []byte("hello")) // to every linked node; Send is for one
	fmt.Println(err)
	sup.Stop()
	fmt.Println(sup.Wait())
	// Output:
	// <nil>
	// <nil>
}

// The first event is a Snapshot; what happens follows in order.
func ExampleSupervisor_Events() {
	ctx := context.Background()
	network := memory.New()
	web1, _ := network.Join("web1:4370")
	web2, _ := network.Join("web2:4370")

	sup, err := cluster.Start(ctx, nil, cluster.WithTransport(web1))
	if err != nil {
		fmt.Println(err)
		return
	}
	events := sup.Events(ctx)
	err = sup.Apply([]cluster.Topology{{Name: "web", Strategy: static.Strategy{Hosts: []string{"web2:4370"}}}})
	if err != nil {
		fmt.Println(err)
	}
	for e := range events { // until the supervisor has stopped
		switch e := e.(type) {
		case cluster.Snapshot:
			fmt.Println("linked at first:", e.Nodes)
		case cluster.NodeConnected:
			fmt.Println("connected:", e.Node)
			web2.Crash()
		case cluster.NodeDisconnected:
			fmt.Println("disconnected:", e.Node, errors.Is(e.Cause, cluster.ErrLost))
			sup.Stop()
		}
	}
	fmt.Println(sup.Wait())
	// Output:
	// linked at first: []
	// connected: web2:4370
	// disconnected: web2:4370 true
	// <nil>
}
