package gossip_test

import (
	"context"
	"errors"
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

	join := func() (node *cluster.Supervisor, leave func() error) {
		m, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0"})
		if err != nil {
			log.Fatal(err)
		}
		node, err = cluster.Start(ctx, []cluster.Topology{{
			Name:     "web",
			Strategy: gossip.Strategy{Secrets: []string{secret}, Interface: "127.0.0.1"},
		}}, cluster.WithTransport(m))
		if err != nil {
			log.Fatal(err)
		}
		return node, func() error {
			node.Stop()
			return errors.Join(node.Wait(), m.Close())
		}
	}

	var leaves []func() error
	var nodes []*cluster.Supervisor
	for range 3 {
		node, leave := join()
		nodes, leaves = append(nodes, node), append(leaves, leave)
	}
	for _, node := range nodes {
		if err := node.WaitNodes(ctx, 2); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("all are linked")
	for _, leave := range leaves {
		if err := leave(); err != nil {
			log.Fatal(err)
		}
	}
	// Output: all are linked
}
