package local_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/local"
	"github.com/libcluster-go/cluster/transport/memory"
)

// Two nodes, which could be two processes, find each other. The memory transport
// stands for the mesh, which is the default, and the folder for the user's own.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	network := memory.New()
	for _, n := range []cluster.Node{"127.0.0.1:4370", "127.0.0.1:4371"} {
		self, err := network.Join(n)
		if err != nil {
			log.Panic(err)
		}
		supervisor, err := cluster.Start(ctx, []cluster.Topology{{
			Name:      "web",
			Strategy:  local.Strategy{Cluster: "web", Dir: dir},
			Transport: self,
		}})
		if err != nil {
			log.Panic(err)
		}
		defer func() { // the first is there until the second has found it
			supervisor.Stop()
			if err := supervisor.Wait(); err != nil {
				log.Print(err)
			}
		}()
		if n == "127.0.0.1:4371" {
			if err := supervisor.WaitNodes(ctx, 1); err != nil {
				log.Panic(err)
			}
			fmt.Println(supervisor.Nodes())
		}
	}
	// Output: [127.0.0.1:4370]
}
