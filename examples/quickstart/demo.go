package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	// frameEvery is how often the picture may change.
	frameEvery = 40 * time.Millisecond

	// pause follows each step in a terminal, for people's eyes. It isn't part
	// of any time that is measured.
	pause = 800 * time.Millisecond
)

// A demo is the life of a cluster. One goroutine owns it.
type demo struct {
	options
	screen   *screen
	secret   string
	registry string         // the folder in which the nodes find each other
	addrs    []cluster.Node // of the nodes
	nodes    []*process
	reports  *reports

	form, notice, heal time.Duration
}

// show runs the demo from the first start to the summary.
func show(ctx context.Context, o options, s *screen) error {
	addrs, err := freeAddrs(o.nodes)
	if err != nil {
		return err
	}
	registry, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	d := &demo{options: o, screen: s, secret: mesh.NewSecret(), registry: registry, addrs: addrs, reports: newReports()}
	defer func() {
		s.clear()
		d.reports.close(d.nodes)
		_ = os.RemoveAll(registry) // which is a temporary folder
	}()
	s.picture = func(width, height int) []string { return picture(d.nodes, s.style, width, height) }
	s.title("A cluster of %d processes on this machine", o.nodes)

	for _, step := range []func(context.Context) error{d.startAll, d.greet, d.kill, d.restart} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := d.rest(ctx); err != nil {
			return err
		}
	}
	if o.stay {
		if err := d.stayUp(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	if err := d.leave(ctx); err != nil {
		return err
	}
	d.summary()
	return s.err
}

func (d *demo) start(i int) (*process, error) {
	return start(fmt.Sprintf("node-%d", i+1), d.addrs[i], d.registry, d.secret, d.reports)
}

func (d *demo) startAll(ctx context.Context) error {
	began := time.Now()
	d.screen.log(arrow, "starting %d nodes", len(d.addrs))
	for i := range d.addrs {
		p, err := d.start(i)
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, p)
	}
	if err := d.until(ctx, "every node is linked with every other", d.full); err != nil {
		return err
	}
	d.form = time.Since(began)
	d.screen.log(check, "full mesh: every node is linked with every other (%s)", count(pairs(len(d.nodes)), "link"))
	return nil
}

func (d *demo) greet(ctx context.Context) error {
	for _, p := range d.nodes {
		p.tell("hello from " + p.name)
	}
	err := d.until(ctx, "every node has a greeting from every other", func() bool {
		return !slices.ContainsFunc(d.nodes, func(p *process) bool { return p.messages < len(d.nodes)-1 })
	})
	if err != nil {
		return err
	}
	d.screen.log(check, "%d messages: every node has greeted every other", 2*pairs(len(d.nodes)))
	return nil
}

// kill measures from before the signal until the last of the others has said
// that the link is gone.
func (d *demo) kill(ctx context.Context) error {
	victim := d.nodes[d.victim()]
	d.screen.log(cross, "kill -9 %s (pid %d)", victim.name, victim.pid())
	began := time.Now()
	victim.state = killed
	if err := victim.cmd.Process.Kill(); err != nil {
		return err
	}
	err := d.until(ctx, "all others notice that "+victim.name+" is gone", func() bool { return d.unseen(victim) })
	if err != nil {
		return err
	}
	d.notice = time.Since(began)
	d.screen.log(check, "all others have noticed")
	return nil
}

func (d *demo) victim() int { return len(d.nodes) / 2 }

// restart measures until everybody is linked with the new process: nobody was
// with the old one any more.
func (d *demo) restart(ctx context.Context) error {
	i := d.victim()
	if err := d.until(ctx, d.nodes[i].name+" ends", func() bool { return d.nodes[i].ended }); err != nil {
		return err
	}
	began := time.Now()
	if err := d.again(ctx, i); err != nil {
		return err
	}
	d.heal = time.Since(began)
	return nil
}

// again starts a node that has ended, and waits until the mesh is whole.
func (d *demo) again(ctx context.Context, i int) error {
	p, err := d.start(i)
	if err != nil {
		return err
	}
	d.nodes[i] = p
	d.screen.log(arrow, "starting %s again (pid %d)", p.name, p.pid())
	if err := d.until(ctx, "the mesh is whole again", d.full); err != nil {
		return err
	}
	d.screen.log(check, "the mesh is whole again")
	return nil
}

// leave shuts the nodes down one after the other.
func (d *demo) leave(ctx context.Context) error {
	for _, p := range d.nodes {
		p.state = left
		p.leave()
		err := d.until(ctx, p.name+" leaves and all others see it", func() bool { return p.ended && d.unseen(p) })
		if err != nil {
			return err
		}
		if p.err != nil {
			return &endedError{p}
		}
	}
	d.screen.log(check, "all have left, one after the other")
	return nil
}

func (d *demo) summary() {
	d.screen.clear()
	row := func(what string, t time.Duration, explained string) {
		ms := fmt.Sprintf("%7.1f ms", float64(t.Microseconds())/1000)
		d.screen.print("  %-23s %s  %s", what, d.screen.style(bold, ms), d.screen.style(dim, explained))
	}
	d.screen.print("")
	row("time to full mesh", d.form, "from the first start to the last link")
	row("time to notice the loss", d.notice, "from kill -9 until all others knew")
	row("time to heal", d.heal, "from its restart to the last link")
	d.screen.print("")
}

// full reports whether every two nodes say that they are linked.
func (d *demo) full() bool { return linked(d.nodes) == pairs(len(d.nodes)) }

// unseen reports whether no other node says that it is linked with p.
func (d *demo) unseen(p *process) bool {
	return !slices.ContainsFunc(d.nodes, func(o *process) bool { return o != p && o.sees(p) })
}

// rest lets people look.
func (d *demo) rest(ctx context.Context) error {
	if !d.screen.live {
		return ctx.Err()
	}
	return ignoreLate(d.watch(ctx, pause, nil))
}

// until waits for a step. Its error says what didn't happen, and who is to
// blame.
func (d *demo) until(ctx context.Context, what string, ok func() bool) error {
	err := d.watch(ctx, d.limit, ok)
	if !errors.Is(err, errLate) {
		return err
	}
	for _, p := range d.nodes {
		d.screen.log(cross, "%s", p.account(d.nodes))
	}
	return fmt.Errorf("not in %s: %s", d.limit, what)
}

var errLate = errors.New("the time is over")

func ignoreLate(err error) error {
	if errors.Is(err, errLate) {
		return nil
	}
	return err
}

// watch takes reports and shows them until ok, or until they can't be shown. A
// limit of zero is none; a nil ok is never.
func (d *demo) watch(ctx context.Context, limit time.Duration, ok func() bool) error {
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	frame := time.NewTicker(frameEvery)
	defer frame.Stop()
	for ok == nil || !ok() {
		if d.screen.err != nil {
			return d.screen.err
		}
		select {
		case r := <-d.reports.all:
			if err := r.by.take(r.report); err != nil {
				return err
			}
			d.screen.changed = true
		case <-frame.C:
			d.screen.draw()
		case <-late:
			return errLate
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
