// Command quickstart shows a cluster form, talk, lose a node and heal: it starts
// several processes of itself on this machine.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -nodes 20
//	go run ./examples/quickstart -stay
//
// It exits with 0, with 1 if a step doesn't happen in time or can't be shown, with
// 2 if it is called wrongly, and with 130 if it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const maxNodes = 50

// Options are what the command line says.
type options struct {
	nodes int
	stay  bool
	limit time.Duration // of each step
}

func main() {
	if os.Getenv(registryEnv) != "" {
		os.Exit(nodeMain())
	}
	os.Exit(run(os.Args[1:]))
}

// run is the program without its exit, whose code it returns.
func run(args []string) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if isClosed(os.Stdout) {
		fmt.Fprintln(os.Stderr, "quickstart: standard output is closed, so there is nowhere to show anything; "+
			"to see nothing, add > "+os.DevNull)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)         // a second Ctrl-C doesn't wait for anything
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		hangup, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // which may come twice
		defer stop()
		ctx = hangup
	}
	signal.Ignore(syscall.SIGPIPE) // what is written fails instead, and leaves nothing behind
	err = show(ctx, o, newScreen(os.Stdout))
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "quickstart: interrupted")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		return 1
	}
}

// parse has printed what is wrong when it returns an error.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.IntVar(&o.nodes, "nodes", 5, fmt.Sprintf("how many processes to start, 2 to %d", maxNodes))
	flags.BoolVar(&o.stay, "stay", false, "leave the cluster running until Ctrl-C")
	flags.DurationVar(&o.limit, "timeout", 10*time.Second, "how long each step may take")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there are no arguments beside flags, and %q is given; -help lists the flags", flags.Arg(0))
	case o.nodes < 2 || o.nodes > maxNodes:
		err = fmt.Errorf("-nodes is %d; want 2 to %d", o.nodes, maxNodes)
	case o.limit <= 0:
		err = fmt.Errorf("-timeout is %s; want a positive one, such as 10s", o.limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
	return o, err
}
