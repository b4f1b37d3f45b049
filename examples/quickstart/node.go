package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// hostsEnv makes this program a node, and names all of them.
const hostsEnv = "QUICKSTART_HOSTS"

// A report is what a node says to the program that started it: a line of JSON.
type report struct {
	Nodes []cluster.Node `json:"nodes,omitempty"` // that it is linked with now
	From  cluster.Node   `json:"from,omitempty"`  // a message has come
	Error string         `json:"error,omitempty"`
	Event string         `json:"event"`
}

const (
	eventNodes   = "nodes"
	eventMessage = "message"
	eventError   = "error"
)

// runNode is one node. It does what it is told on standard input, and leaves
// when that ends.
func runNode() error {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r) // if nobody listens any more, the input has ended too
	}

	// What a service does: the mesh comes from CLUSTER_SECRET and CLUSTER_BIND.
	sup, err := cluster.Start(context.Background(), []cluster.Topology{{
		Name:     "quickstart",
		Strategy: static.Strategy{Hosts: strings.Fields(os.Getenv(hostsEnv))},
	}}, cluster.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		tell(report{Event: eventError, Error: err.Error()})
		return err
	}
	m := sup.Mesh()
	err = m.Handle("hello", func(_ context.Context, msg mesh.Message) { tell(report{Event: eventMessage, From: msg.From}) })
	if err != nil {
		return err
	}
	go func() {
		for range sup.Events(context.Background()) {
			tell(report{Event: eventNodes, Nodes: sup.Nodes()})
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan() && in.Text() != "leave"; {
		if err := m.Broadcast(context.Background(), "hello", []byte(in.Text())); err != nil {
			tell(report{Event: eventError, Error: err.Error()})
		}
	}
	sup.Stop()
	if err := sup.Wait(); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}
