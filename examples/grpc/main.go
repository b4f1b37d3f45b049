// Command grpc shows a gRPC service that runs on every node of a mesh, and a
// client that balances over whichever are alive: it starts three nodes as
// processes of this machine, kills one while calls are made, and starts it again.
//
//	go run -C examples/grpc .
//
// overmesh.go is what takes gRPC over the mesh, and node.go a node. One that runs
// by itself until Ctrl-C, and finds the others of this machine:
//
//	export CLUSTER_SECRET=$(openssl rand -base64 32)
//	go run -C examples/grpc . -serve ann
//
// It exits with 0, with 1 and the step that failed, with 2 if it is called
// wrongly, and with 130 if it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/libcluster-go/cluster"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

// run is the program without its exit, whose code it returns.
func run(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("grpc", flag.ContinueOnError)
	name := flags.String("serve", "", "be only the node of this `name`, until the input ends or Ctrl-C")
	dir := flags.String("dir", "", "where the nodes of this machine find each other (default: a folder of the user's)")
	limit := flags.Duration("timeout", 10*time.Second, "how long each step may take")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "grpc: there are no arguments beside flags, and %q is given; -help lists the flags\n", flags.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *name != "" {
		err = serve(ctx, *name, *dir)
	} else {
		err = show(ctx, out, *limit)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "grpc: interrupted")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "grpc:", err)
		return 1
	}
}

// serve is a node until ctx is done or the input ends.
func serve(ctx context.Context, name, dir string) error {
	secrets, err := cluster.SecretsFromEnvironment()
	if err != nil {
		return err
	}
	n, err := startNode(name, settings{secrets: secrets, dir: dir})
	if err != nil {
		return err
	}
	fmt.Printf("this node is %s, and greets whoever asks\n", n.mesh.Self())
	ended := make(chan struct{})
	go func() { // ends with the process at the latest
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	return n.close()
}
