package rancher_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/rancher"
	"github.com/libcluster-go/cluster/transport/memory"
)

// A container of a service of three, as one asks for it in Rancher. The memory
// transport stands for the mesh, which is the default, and BaseURL need not be
// set there.
func Example() {
	ctx := context.Background()
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/latest/version" {
			_, _ = io.WriteString(w, `"2f1c0a7e-85a2-4d3c-9f0e-d1f0a8b7c6e5"`)
			return
		}
		_, _ = io.WriteString(w, `{"name": "web", "containers": [
			{"name": "default-web-1", "primary_ip": "10.42.1.5", "state": "running", "health_state": "healthy"},
			{"name": "default-web-2", "primary_ip": "10.42.1.6", "state": "running", "health_state": "healthy"},
			{"name": "default-web-3", "primary_ip": "10.42.1.7", "state": "starting", "health_state": "initializing"}]}`)
	}))
	defer metadata.Close()
	network := memory.New()
	nodes := map[cluster.Node]cluster.Transport{}
	for _, n := range []cluster.Node{"10.42.1.5:4370", "10.42.1.6:4370", "10.42.1.7:4370"} {
		var err error
		if nodes[n], err = network.Join(n); err != nil {
			log.Panic(err)
		}
	}

	supervisor, err := cluster.Start(ctx, []cluster.Topology{{
		Name:      "web",
		Strategy:  rancher.Strategy{BaseURL: metadata.URL + "/latest"},
		Transport: nodes["10.42.1.5:4370"],
	}})
	if err != nil {
		log.Panic(err)
	}
	if err := supervisor.WaitNodes(ctx, 1); err != nil {
		log.Panic(err)
	}
	fmt.Println(supervisor.Nodes())
	supervisor.Stop()
	if err := supervisor.Wait(); err != nil {
		log.Panic(err)
	}
	// Output: [10.42.1.6:4370]
}
