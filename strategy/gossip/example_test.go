package gossip_test

import (
	"context"
	"fmt"
	"log"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// Three nodes know nothing of each other but a secret. They are in one program
// here, and gossip by loopback only; without Interface it is all interfaces.
func Example() {
	ctx := context.Background()
	secret := mesh.NewSecret() // in real life from the environment, the same everywhere
	strategy := gossip.Strategy{Secrets: []string{secret}, Interface: "127.0.0.1"}

	var nodes []*cluster.Supervisor
	for range 3 {
		m, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0"})
		if err != nil {
			log.Fatal(err)
		}
		defer m.Close()
		topologies := []cluster.Topology{{Name: "web", Strategy: strategy}}
		node, err := cluster.Start(ctx, topologies, cluster.WithTransport(m))
		if err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		if err := node.WaitNodes(ctx, 2); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("all are linked")
	for _, node := range nodes {
		node.Stop()
		if err := node.Wait(); err != nil {
			log.Fatal(err)
		}
	}
	// Output: all are linked
}
