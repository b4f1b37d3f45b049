package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/local"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// registryEnv makes this program a node, and names the folder in which the nodes
// of one run find each other.
const registryEnv = "QUICKSTART_REGISTRY"

// A report is what a node says to the program that started it: a line of JSON.
type report struct {
	Event string         `json:"event"`
	Nodes []cluster.Node `json:"nodes,omitempty"` // that it is linked with now
	Error string         `json:"error,omitempty"`

	err error // how it ended, which the program sees for itself
}

const (
	eventLinks   = "links"   // its links have changed
	eventMessage = "message" // a message has come
	eventError   = "error"   // it can't go on
	eventEnded   = "ended"
)

// A reporter may be used by several goroutines.
type reporter struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (r *reporter) say(what report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.out.Encode(what) // when nobody listens any more, the input has ended too
}

// nodeMain returns the exit code of a node.
func nodeMain() int {
	signal.Ignore(syscall.SIGPIPE)              // it leaves as ever when nobody listens any more
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // a terminal sends them to all; the node leaves when its input ends
	out := &reporter{out: json.NewEncoder(os.Stdout)}
	if err := runNode(out); err != nil {
		out.say(report{Event: eventError, Error: err.Error()})
		return 1
	}
	return 0
}

// runNode is what a service does: the mesh comes from CLUSTER_SECRET and
// CLUSTER_BIND. It sends each line of its input to all others, and leaves when
// that ends.
func runNode(out *reporter) error {
	sup, err := cluster.Start(context.Background(), []cluster.Topology{{
		Name:     "quickstart",
		Strategy: local.Strategy{Dir: os.Getenv(registryEnv)},
	}}, cluster.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	var told sync.WaitGroup
	told.Go(func() {
		for range sup.Events(context.Background()) {
			out.say(report{Event: eventLinks, Nodes: sup.Nodes()})
		}
	})
	defer told.Wait()
	defer sup.Stop()
	if err := sup.Mesh().Handle("hello", func(context.Context, mesh.Message) { out.say(report{Event: eventMessage}) }); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := sup.Mesh().Broadcast(context.Background(), "hello", in.Bytes()); err != nil {
			return err
		}
	}
	sup.Stop()
	if err := sup.Wait(); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	removeEmpty(os.Getenv(registryEnv))
	return nil
}

// removeEmpty removes the folder and those in it, if all are empty. So the last node
// to leave does, if the program that made it was killed.
func removeEmpty(folder string) {
	inside, _ := os.ReadDir(folder) // it may be gone already
	for _, e := range inside {
		if e.IsDir() {
			_ = os.Remove(filepath.Join(folder, e.Name())) // unless a node has its file there
		}
	}
	_ = os.Remove(folder)
}
