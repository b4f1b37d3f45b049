// Command node is one node of a cluster whose hosts are given on the command
// line: start several, with the same CLUSTER_SECRET.
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

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func main() {
	bind := flag.String("bind", "", "host:port to listen on (default: port 4370 of all interfaces)")
	advertise := flag.String("advertise", "", "where the others reach this node (default: found out)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	m, err := mesh.Listen(mesh.Config{
		Secrets: []string{os.Getenv("CLUSTER_SECRET")}, Bind: *bind, Advertise: *advertise,
		Handlers: map[string]mesh.Handler{"hello": func(_ context.Context, msg mesh.Message) {
			log.Printf("%s says: %s", msg.From, msg.Data)
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	hosts := static.Strategy{Hosts: flag.Args(), Port: mesh.Port}
	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "node", Strategy: hosts}}, cluster.WithTransport(m))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // the mesh ends with the process
	}
	for e := range sup.Events(ctx) { // the links' ups and downs are logged already
		if up, ok := e.(cluster.NodeConnected); ok {
			_ = m.Send(ctx, up.Node, "hello", []byte("hello from "+m.Self()))
		}
	}
	if err := sup.Wait(); err != nil {
		log.Print(err)
	}
}
