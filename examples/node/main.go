// Command node is one node of a cluster whose hosts are its arguments. Start
// several with the same secret, here two:
//
//	export CLUSTER_SECRET=$(openssl rand -base64 32)
//	go run ./examples/node -bind 127.0.0.1:4371 127.0.0.1:4371 127.0.0.1:4372 &
//	go run ./examples/node -bind 127.0.0.1:4372 127.0.0.1:4371 127.0.0.1:4372
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func main() {
	bind := flag.String("bind", "", "host:port to listen on (default: port 4370 of all interfaces)")
	advertise := flag.String("advertise", "", "where the others reach this node (default: found out)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bind, *advertise, flag.Args()); err != nil {
		log.Fatal(err) //nolint:gocritic // stop has nothing to do any more
	}
}

// run is a node until ctx is done.
func run(ctx context.Context, bind, advertise string, hosts []string) error {
	secrets, err := cluster.SecretsFromEnvironment() // the same on all nodes
	if err != nil {
		return err
	}
	hear := func(_ context.Context, msg mesh.Message) { log.Printf("%s says: %s", msg.From, msg.Data) }
	m, err := mesh.Listen(mesh.Config{
		Secrets: secrets, Bind: bind, Advertise: advertise, Handlers: map[string]mesh.Handler{"hello": hear},
	})
	if err != nil {
		return err
	}
	defer m.Close()
	log.Printf("this node is %s", m.Self())
	return greet(ctx, m, static.Strategy{Hosts: hosts, Port: mesh.Port})
}

// greet says hello to each node that is linked, however it was found.
func greet(ctx context.Context, m *mesh.Mesh, nodes cluster.Strategy) error {
	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "node", Strategy: nodes}}, cluster.WithTransport(m))
	if err != nil {
		return err
	}
	for e := range sup.Events(ctx) {
		var came []cluster.Node
		switch e := e.(type) {
		case cluster.Snapshot: // the first event: who was linked before
			came = e.Nodes
		case cluster.NodeConnected:
			came = []cluster.Node{e.Node}
		}
		for _, n := range came {
			_ = m.Send(ctx, n, "hello", []byte("hello")) // it may be gone again
		}
	}
	return sup.Wait()
}
