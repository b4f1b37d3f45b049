package dns_test

import (
	"context"
	"fmt"
	"log"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/dns"
	"github.com/libcluster-go/cluster/transport/memory"
)

// A node of three that one name stands for. A func stands for the DNS servers,
// and the memory transport for the mesh, which is the default.
func Example() {
	ctx := context.Background()
	network := memory.New()
	for _, n := range []cluster.Node{"10.0.0.2:4370", "10.0.0.3:4370"} {
		if _, err := network.Join(n); err != nil {
			log.Fatal(err)
		}
	}
	self, err := network.Join("10.0.0.1:4370")
	if err != nil {
		log.Fatal(err)
	}

	supervisor, err := cluster.Start(ctx, []cluster.Topology{{
		Name: "web",
		Strategy: dns.Strategy{
			Queries: []string{"web.internal."},
			Port:    4370,
			Resolver: func(context.Context, string) ([]string, error) {
				return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, nil
			},
		},
		Transport: self,
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := supervisor.WaitNodes(ctx, 2); err != nil {
		log.Fatal(err)
	}
	fmt.Println(supervisor.Nodes())
	supervisor.Stop()
	if err := supervisor.Wait(); err != nil {
		log.Fatal(err)
	}
	// Output: [10.0.0.2:4370 10.0.0.3:4370]
}

// The pods of a StatefulSet, by their stable names.
func ExampleKubernetes() {
	strategy := dns.Kubernetes{Service: "web-nodes", Namespace: "prod", SRV: true, PortName: "cluster"}
	fmt.Println(strategy.Validate())
	// Output: <nil>
}
