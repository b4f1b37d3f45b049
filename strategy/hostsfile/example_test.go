package hostsfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/hostsfile"
	"github.com/libcluster-go/cluster/transport/memory"
)

// A node of a file of three, of which it is one. The memory transport stands
// for the mesh, which is the default.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hosts")
	if err := os.WriteFile(path, []byte("10.0.0.1 # this one\n10.0.0.2\n'10.0.0.3'. % as Erlang has it\n"), 0o600); err != nil {
		log.Panic(err)
	}
	network := memory.New()
	nodes := map[cluster.Node]cluster.Transport{}
	for _, n := range []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370", "10.0.0.3:4370"} {
		if nodes[n], err = network.Join(n); err != nil {
			log.Panic(err)
		}
	}

	supervisor, err := cluster.Start(ctx, []cluster.Topology{{
		Name:      "web",
		Strategy:  hostsfile.Strategy{Path: path, Port: 4370},
		Transport: nodes["10.0.0.1:4370"],
	}})
	if err != nil {
		log.Panic(err)
	}
	if err := supervisor.WaitNodes(ctx, 2); err != nil {
		log.Panic(err)
	}
	fmt.Println(supervisor.Nodes())
	supervisor.Stop()
	if err := supervisor.Wait(); err != nil {
		log.Panic(err)
	}
	// Output: [10.0.0.2:4370 10.0.0.3:4370]
}
