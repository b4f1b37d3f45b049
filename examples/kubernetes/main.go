// Command kubernetes is one node of a cluster of pods that find each other by the
// API of Kubernetes. README.md tells how to run it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pods := kubernetes.Strategy{Service: "web-nodes", PortName: "cluster"}
	if err := run(ctx, pods, fmt.Sprintf(":%d", mesh.Port)); err != nil {
		log.Fatal(err) //nolint:gocritic // stop has nothing to do any more
	}
}

// run is a node until ctx is done: when the pod terminates, it leaves the others,
// who need not find out.
func run(ctx context.Context, pods cluster.Strategy, bind string) error {
	secrets, err := cluster.SecretsFromEnvironment() // of a Secret
	if err != nil {
		return err
	}
	ip := os.Getenv(kubernetes.EnvPodIP)
	if ip == "" {
		return fmt.Errorf("%s is not set; have the downward API set it to status.podIP", kubernetes.EnvPodIP)
	}
	hear := func(_ context.Context, msg mesh.Message) { log.Printf("%s says: %s", msg.From, msg.Data) }
	m, err := mesh.Listen(mesh.Config{
		Secrets: secrets, Bind: bind, Advertise: ip, Handlers: map[string]mesh.Handler{"hello": hear},
	})
	if err != nil {
		return err
	}
	defer m.Close()
	log.Printf("this node is %s", m.Self())

	sup, err := cluster.Start(ctx, []cluster.Topology{{Name: "web", Strategy: pods}}, cluster.WithTransport(m))
	if err != nil {
		return err
	}
	for e := range sup.Events(ctx) { // the library logs them; this greets who comes
		if up, ok := e.(cluster.NodeConnected); ok {
			_ = m.Send(ctx, up.Node, "hello", []byte("hello from "+os.Getenv(kubernetes.EnvPodName))) // it may be gone again
		}
	}
	return sup.Wait()
}
