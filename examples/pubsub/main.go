// Command pubsub is a chat: publish and subscribe over the mesh's Broadcast, with a
// topic for each room. Start it in several terminals of one machine, and they find
// each other:
//
//	go run ./examples/pubsub -name ann -room go
//	go run ./examples/pubsub -name bob -room go,rust
//
// topics.go is publish and subscribe, chat.go the rooms, and node.go puts them
// together. With -demo it starts several of itself that talk, and checks who hears
// what:
//
//	go run ./examples/pubsub -demo
//
// It exits with 0, with 1 and the step that failed, with 2 if it is called wrongly,
// and with 130 if the demo is interrupted.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

type options struct {
	settings

	demo  bool
	limit time.Duration // of each step of it
}

// run is the program without its exit, whose code it returns. The demo is shown on
// out.
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
	if o.demo {
		err = show(ctx, out, o.limit)
	} else {
		err = interact(ctx, o.settings)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "pubsub: interrupted")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "pubsub:", err)
		return 1
	}
}

// interact is a chat at this terminal.
func interact(ctx context.Context, s settings) error {
	if s.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("there is no folder of the user's, and -dir names none: %w", err)
		}
		s.dir = filepath.Join(cache, "cluster-pubsub")
	}
	at, err := openConsole(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	defer at.close()
	return talk(ctx, s, at)
}

// parse has printed what is wrong when it returns an error.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("pubsub", flag.ContinueOnError)
	flags.StringVar(&o.name, "name", cmp.Or(os.Getenv("USER"), "somebody"), "what the others call you")
	room := flags.String("room", "lobby", "the room to join, or several separated by commas")
	flags.StringVar(&o.dir, "dir", "", "the `folder` where chats of this machine find each other (default: one of the user's)")
	flags.BoolVar(&o.demo, "demo", false, "start several that talk, and check who hears what")
	flags.DurationVar(&o.limit, "timeout", 10*time.Second, "how long each step of the demo may take")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.rooms = strings.Split(*room, ",")
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there are no arguments beside flags, and %q is given; -help lists the flags", flags.Arg(0))
	case o.demo && (given["name"] || given["room"] || given["dir"]):
		err = errors.New("-name, -room and -dir are only for a chat, and -demo is set: it has its own")
	case given["timeout"] && !o.demo:
		err = errors.New("-timeout is only for the demo, and -demo is not set")
	case o.limit <= 0:
		err = fmt.Errorf("-timeout is %s; want a positive one, such as 10s", o.limit)
	case !o.demo:
		err = o.check()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pubsub:", err)
	}
	return o, err
}
