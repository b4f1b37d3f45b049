package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/local"
	"github.com/libcluster-go/cluster/transport/mesh"
	"google.golang.org/grpc"

	"github.com/libcluster-go/cluster/examples/grpc/greeterpb"
)

const (
	// service is what the nodes listen for and dial.
	service = "greeter"

	// leaveWithin is how long calls that are under way may delay a node that
	// leaves.
	leaveWithin = 5 * time.Second
)

// A greeter is the service as one node serves it.
type greeter struct {
	greeterpb.UnimplementedGreeterServer

	node string
}

// Greet is called by the peers.
func (g greeter) Greet(_ context.Context, req *greeterpb.GreetRequest) (*greeterpb.GreetReply, error) {
	return &greeterpb.GreetReply{Text: "hello, " + req.GetName(), Node: g.node}, nil
}

// Settings are what all nodes of a run share.
type settings struct {
	secrets []string // of the mesh
	dir     string   // where the nodes of this machine find each other; empty means that of the user
}

// A node finds the others, is linked with them, and serves greetings to them.
type node struct {
	mesh   *mesh.Mesh
	sup    *cluster.Supervisor
	server *grpc.Server
	served chan error
}

// startNode starts a node, which close ends.
func startNode(name string, s settings) (*node, error) {
	quiet := slog.New(slog.DiscardHandler) // the output is for what is shown
	m, err := mesh.Listen(mesh.Config{Name: name, Secrets: s.secrets, Bind: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return nil, err
	}
	l, err := m.ListenService(service) // before anybody can find this node
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	nodes := local.Strategy{Cluster: "grpc-example", Dir: s.dir}
	sup, err := cluster.Start(context.Background(), []cluster.Topology{{Name: "grpc", Strategy: nodes}},
		cluster.WithTransport(m), cluster.WithLogger(quiet))
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	n := &node{mesh: m, sup: sup, server: grpc.NewServer(), served: make(chan error, 1)}
	greeterpb.RegisterGreeterServer(n.server, greeter{node: name})
	go func() { n.served <- n.server.Serve(l) }()
	return n, nil
}

// close leaves: what the node was asked for is answered first.
func (n *node) close() error {
	impatient := time.AfterFunc(leaveWithin, n.server.Stop)
	n.server.GracefulStop()
	impatient.Stop()
	n.sup.Stop()
	err := errors.Join(<-n.served, n.sup.Wait(), n.mesh.Close())
	if err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	return nil
}
