// Command quickstart shows a cluster form, talk, lose a node and heal: it starts
// several processes of itself on this machine.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -nodes 20
//	go run ./examples/quickstart -stay
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// stepTimeout is how long each step may take.
const stepTimeout = 10 * time.Second

const maxNodes = 50

func main() {
	if os.Getenv(hostsEnv) != "" {
		if err := runNode(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	nodes := flag.Int("nodes", 5, "how many processes to start, 2 to 50")
	stay := flag.Bool("stay", false, "leave the cluster running until Ctrl-C")
	flag.Parse()
	if *nodes < 2 || *nodes > maxNodes {
		fmt.Fprintf(os.Stderr, "-nodes is %d; want 2 to %d\n", *nodes, maxNodes)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := show(ctx, *nodes, *stay); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

type times struct{ form, notice, heal time.Duration }

// A demo is the run of a cluster.
type demo struct {
	screen  *screen
	secret  string
	hosts   []string
	nodes   []*process
	reports chan said
}

func show(ctx context.Context, n int, stay bool) (err error) {
	hosts, err := freeAddrs(n)
	if err != nil {
		return err
	}
	d := &demo{
		screen: &screen{out: os.Stdout, live: term.IsTerminal(int(os.Stdout.Fd())), began: time.Now()},
		secret: mesh.NewSecret(), hosts: hosts, reports: make(chan said, 1024),
	}
	defer func() { err = errors.Join(err, d.killAll()) }()
	fmt.Printf("\n  %s\n\n", d.screen.style(bold, fmt.Sprintf("A cluster of %d processes", n)))

	var t times
	for _, step := range []func(context.Context, *times) error{d.form, d.talk, d.lose, d.heal} {
		if err := step(ctx, &t); err != nil {
			return err
		}
	}
	if stay {
		d.screen.log("running until Ctrl-C")
		err := d.until(ctx, 0, "", func() bool { return false })
		if !errors.Is(err, context.Canceled) {
			return err
		}
	}
	if err := d.leave(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	d.screen.summary(t)
	return nil
}

func (d *demo) start(i int) (*process, error) {
	return start(fmt.Sprintf("node-%d", i+1), cluster.Node(d.hosts[i]), d.hosts, d.secret, d.reports)
}

func (d *demo) form(ctx context.Context, t *times) error {
	began := time.Now()
	d.screen.log("starting %d nodes", len(d.hosts))
	for i := range d.hosts {
		p, err := d.start(i)
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, p)
	}
	if err := d.until(ctx, stepTimeout, "every node sees all others", d.full); err != nil {
		return err
	}
	t.form = time.Since(began)
	d.screen.done("full mesh: each of the %d nodes is linked with the %d others", len(d.nodes), len(d.nodes)-1)
	return nil
}

func (d *demo) full() bool {
	return !slices.ContainsFunc(d.nodes, func(p *process) bool { return len(p.sees) != len(d.nodes)-1 })
}

func (d *demo) talk(ctx context.Context, _ *times) error {
	for _, p := range d.nodes {
		p.tell("hello from " + p.name)
	}
	want, got := len(d.nodes)*(len(d.nodes)-1), 0
	err := d.until(ctx, stepTimeout, "every greeting arrives at every other node", func() bool {
		got = 0
		for _, p := range d.nodes {
			got += p.messages
		}
		return got == want
	})
	if err != nil {
		return fmt.Errorf("%w (%d of %d messages)", err, got, want)
	}
	d.screen.done("%d messages: every node has greeted all others", got)
	return nil
}

func (d *demo) lose(ctx context.Context, t *times) error {
	victim := d.nodes[len(d.nodes)/2]
	d.screen.log("%s kill -9 %s (pid %d)", d.screen.style(red, "✗"), victim.name, victim.cmd.Process.Pid)
	began := time.Now()
	victim.down = true
	if err := victim.cmd.Process.Kill(); err != nil {
		return err
	}
	err := d.until(ctx, stepTimeout, "all others notice that "+victim.name+" is gone", func() bool {
		return !slices.ContainsFunc(d.nodes, func(p *process) bool { return !p.down && slices.Contains(p.sees, victim.node) })
	})
	if err != nil {
		return err
	}
	t.notice = time.Since(began)
	d.screen.done("all %d others have noticed", len(d.nodes)-1)
	return nil
}

func (d *demo) heal(ctx context.Context, t *times) error {
	i := len(d.nodes) / 2
	<-d.nodes[i].ended
	began := time.Now()
	p, err := d.start(i)
	if err != nil {
		return err
	}
	d.nodes[i] = p
	d.screen.log("starting %s again (pid %d)", p.name, p.cmd.Process.Pid)
	if err := d.until(ctx, stepTimeout, "the mesh is whole again", d.full); err != nil {
		return err
	}
	t.heal = time.Since(began)
	d.screen.done("whole again")
	return nil
}

// leave shuts the nodes down one after the other.
func (d *demo) leave(ctx context.Context) error {
	for i, p := range d.nodes {
		p.tell("leave")
		p.down = true
		rest := d.nodes[i+1:]
		err := d.until(ctx, stepTimeout, p.name+" leaves and the others see it", func() bool {
			return !slices.ContainsFunc(rest, func(o *process) bool { return slices.Contains(o.sees, p.node) })
		})
		if err != nil {
			return err
		}
		select {
		case err := <-p.ended:
			if err != nil {
				return fmt.Errorf("%s ended with %w", p.name, err)
			}
		case <-time.After(stepTimeout):
			return fmt.Errorf("not in %s: %s ends", stepTimeout, p.name)
		}
		p.ended <- nil // for killAll
	}
	d.screen.done("all have left in order")
	return nil
}

// until takes reports until ok, and shows them. A limit of zero is none.
func (d *demo) until(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	for !ok() {
		select {
		case s := <-d.reports:
			switch s.Event {
			case eventNodes:
				s.by.sees = s.Nodes
				d.screen.draw(d.nodes)
			case eventMessage:
				s.by.messages++
			case eventError:
				return fmt.Errorf("%s: %s", s.by.name, s.Error)
			}
		case <-late:
			for _, p := range d.nodes {
				d.screen.log("%s sees %s", p.name, nodesOf(p.sees))
			}
			return fmt.Errorf("not in %s: %s", limit, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// killAll ends what is still running, and waits for it.
func (d *demo) killAll() error {
	drained := make(chan struct{})
	defer close(drained)
	go func() {
		for {
			select {
			case <-d.reports:
			case <-drained:
				return
			}
		}
	}()
	for _, p := range d.nodes {
		_ = p.cmd.Process.Kill() // it may have ended
	}
	for _, p := range d.nodes {
		<-p.ended
	}
	return nil
}
