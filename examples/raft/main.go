// Command raft shows Raft over the mesh: a small store of keys that several nodes
// replicate, whose members come from discovery. It starts three of them as
// processes of this machine, kills the leader, has a fourth join, and starts the
// killed one again.
//
//	go run -C examples/raft .
//
// layer.go is what takes Raft over the mesh, members.go who is one of it, and
// node.go puts them together. Nodes to play with, each in a terminal of its own:
//
//	export CLUSTER_SECRET=$(openssl rand -base64 32) # the same in all
//	go run -C examples/raft . -name a -dir /tmp/raft-a -expect 3
//	go run -C examples/raft . -name b -dir /tmp/raft-b -expect 3
//	go run -C examples/raft . -name c -dir /tmp/raft-c -expect 3
//
// and more without -expect, once there is a leader. Each takes the commands set,
// get, status and remove. A node whose folder is lost has to come back under another
// name, since under its own it could vote twice.
//
// The program exits with 0, with 1 and the step that failed, with 2 if it is called
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
	s, limit, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.name == "" {
		err = show(ctx, out, limit)
	} else if s.secrets, err = cluster.SecretsFromEnvironment(); err == nil {
		err = serve(ctx, s, os.Stdin, out)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "raft: interrupted")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "raft:", err)
		return 1
	}
}

// parse has printed what is wrong when it returns an error.
func parse(args []string) (s settings, limit time.Duration, err error) {
	flags := flag.NewFlagSet("raft", flag.ContinueOnError)
	flags.StringVar(&s.name, "name", "", "be only one node, of this `name`")
	flags.StringVar(&s.dir, "dir", "", "the `folder` for that node's log")
	flags.IntVar(&s.expect, "expect", 0, "how many nodes a new cluster begins with; 0 joins one")
	flags.StringVar(&s.registry, "registry", "", "the `folder` where the nodes of this machine find each other (default: one of the user's)")
	flags.DurationVar(&limit, "timeout", 10*time.Second, "how long each step of the show may take")
	if err := flags.Parse(args); err != nil {
		return s, limit, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there are no arguments beside flags, and %q is given; -help lists the flags", flags.Arg(0))
	case given["name"] && s.name == "":
		err = errors.New("-name is empty; want the node's name, or no -name for the show")
	case !given["name"] && (given["dir"] || given["expect"] || given["registry"]):
		err = errors.New("-dir, -expect and -registry are only for one node, and -name, which names it, is not set")
	case given["name"] && given["timeout"]:
		err = errors.New("-timeout is only for the show, and -name is set: leave one of them out")
	case limit <= 0:
		err = fmt.Errorf("-timeout is %s; want a positive one, such as 10s", limit)
	case s.name != "" && s.dir == "":
		err = errors.New("-name is set and -dir is not: name a folder for the log, the same at each start of that node")
	case s.expect < 0:
		err = fmt.Errorf("-expect is %d; want a number of nodes, or 0", s.expect)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "raft:", err)
	}
	return s, limit, err
}
