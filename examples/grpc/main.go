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

// Options are what the command line says.
type options struct {
	name  string // of the one node to be; empty for the show
	dir   string
	limit time.Duration
}

// run is the program without its exit, whose code it returns.
func run(args []string, out io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.name != "" {
		err = serve(ctx, o.name, o.dir)
	} else {
		err = show(ctx, out, o.limit)
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

// parse has printed what is wrong when it returns an error.
func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("grpc", flag.ContinueOnError)
	flags.StringVar(&o.name, "serve", "", "be only the node of this `name`, until the input ends or Ctrl-C")
	flags.StringVar(&o.dir, "dir", "", "where that node finds those of this machine (default: a folder of the user's)")
	flags.DurationVar(&o.limit, "timeout", 10*time.Second, "how long each step of the show may take")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there are no arguments beside flags, and %q is given; -help lists the flags", flags.Arg(0))
	case given["serve"] && o.name == "":
		err = errors.New("-serve is empty; want the node's name, or no -serve for the show")
	case given["dir"] && !given["serve"]:
		err = errors.New("-dir is only for -serve, which is not set: the show makes a folder of its own")
	case given["timeout"] && given["serve"]:
		err = errors.New("-timeout is only for the show, and -serve is set: leave one of them out")
	case o.limit <= 0:
		err = fmt.Errorf("-timeout is %s; want a positive one, such as 10s", o.limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
	}
	return o, err
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
