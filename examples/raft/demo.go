package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// A demo is the life of a cluster. One goroutine owns it.
type demo struct {
	settings
	out    io.Writer
	began  time.Time
	output *output
	nodes  []*process        // that run
	all    []*process        // that ever did
	killed *process          // the first leader
	values map[string]string // that were set
}

// show runs the demo. Its error names the step that failed, each of which may
// take as long as limit.
func show(ctx context.Context, out io.Writer, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "raft-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // which is a temporary folder
	d := &demo{
		settings: settings{dir: dir, registry: filepath.Join(dir, "registry"), secrets: []string{mesh.NewSecret()}},
		out:      out, began: time.Now(), output: newOutput(), values: map[string]string{},
	}
	defer func() { d.output.close(d.all) }()
	fmt.Fprint(out, "\n  Raft over the mesh: keys that several nodes replicate\n\n")
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"three nodes found a cluster and elect a leader", d.start},
		{"keys are set, and every node has them", func(ctx context.Context) error { return d.set(ctx, "colour", "green") }},
		{"another leader is elected after the first is killed", d.killLeader},
		{"the log is still there, and goes on", func(ctx context.Context) error { return d.set(ctx, "taste", "sweet") }},
		{"a fourth node is found and joins", d.join},
		{"the killed node comes back and catches up", d.restart},
		{"all leave", d.leave},
	} {
		ctx, cancel := context.WithTimeout(ctx, limit)
		err := step.do(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("this step failed: %s: %w", step.name, err)
		}
	}
	fmt.Fprintln(out)
	return nil
}

// log adds a line that begins with the time since the start.
func (d *demo) log(sign, format string, args ...any) {
	fmt.Fprintf(d.out, "  %6.2fs  %s %s\n", time.Since(d.began).Seconds(), sign, fmt.Sprintf(format, args...))
}

func (d *demo) start(ctx context.Context) error {
	d.log("→", "starting node-1, node-2 and node-3, which expect to be three")
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		if err := d.spawn(ctx, name, 3); err != nil {
			return err
		}
	}
	if err := d.until(ctx, d.agreed("node-1 node-2 node-3")); err != nil {
		return err
	}
	d.log("✔", "they have found each other, and %s is the leader", d.nodes[0].leader)
	return nil
}

// spawn starts a node in its own folder.
func (d *demo) spawn(ctx context.Context, name string, expect int) error {
	s := d.settings
	s.name, s.dir, s.expect = name, filepath.Join(d.dir, name), expect
	p, err := spawn(ctx, s, d.output)
	if err != nil {
		return err
	}
	d.nodes, d.all = append(d.nodes, p), append(d.all, p)
	return nil
}

// agreed is that all that run know the same live leader and these voters.
func (d *demo) agreed(voters string) func() bool {
	return func() bool {
		leader := d.nodes[0].leader
		return slices.ContainsFunc(d.nodes, func(p *process) bool { return p.name == leader }) &&
			d.each(func(p *process) bool { return p.leader == leader && p.voters == voters })
	}
}

func (d *demo) each(is func(*process) bool) bool {
	return !slices.ContainsFunc(d.nodes, func(p *process) bool { return !is(p) })
}

// set sets a key at each node, whichever leads.
func (d *demo) set(ctx context.Context, key, value string) error {
	for _, p := range d.nodes {
		k := key + "-" + p.name
		d.values[k] = value
		p.tell("set " + k + " " + value)
	}
	if err := d.until(ctx, d.same); err != nil {
		return err
	}
	d.log("✔", "a key was set at each of %d nodes: every node has all %d", len(d.nodes), len(d.values))
	return nil
}

// same is that every node has all that was set.
func (d *demo) same() bool {
	return d.each(func(p *process) bool { return maps.Equal(p.values, d.values) })
}

// killLeader measures from before the signal until both others know the next.
func (d *demo) killLeader(ctx context.Context) error {
	i := slices.IndexFunc(d.nodes, func(p *process) bool { return p.name == p.leader })
	d.killed = d.nodes[i]
	d.nodes = slices.Delete(d.nodes, i, i+1)
	d.log("✗", "kill -9 %s, the leader (pid %d)", d.killed.name, d.killed.cmd.Process.Pid)
	began := time.Now()
	if err := d.killed.kill(); err != nil {
		return err
	}
	if err := d.until(ctx, d.agreed("node-1 node-2 node-3")); err != nil {
		return err
	}
	d.log("✔", "%s is the leader after %.1f s; %s is still a voter", d.nodes[0].leader, time.Since(began).Seconds(), d.killed.name)
	return nil
}

// join has a node come that nobody was told of.
func (d *demo) join(ctx context.Context) error {
	d.log("→", "starting node-4, which nobody was told of")
	if err := d.spawn(ctx, "node-4", 0); err != nil {
		return err
	}
	everybody := d.agreed("node-1 node-2 node-3 node-4")
	if err := d.until(ctx, func() bool { return everybody() && d.same() }); err != nil {
		return err
	}
	d.log("✔", "it is a voter and has all %d keys", len(d.values))
	return nil
}

func (d *demo) restart(ctx context.Context) error {
	if err := d.until(ctx, func() bool { return d.killed.ended }); err != nil {
		return err
	}
	if err := d.spawn(ctx, d.killed.name, 3); err != nil {
		return err
	}
	d.log("→", "starting %s again, on another port", d.killed.name)
	everybody := d.agreed("node-1 node-2 node-3 node-4")
	if err := d.until(ctx, func() bool { return everybody() && d.same() }); err != nil {
		return err
	}
	d.log("✔", "it has caught up: all %d keys, its own from before among them", len(d.values))
	return nil
}

func (d *demo) leave(ctx context.Context) error {
	for _, p := range d.nodes {
		p.leave()
	}
	if err := d.until(ctx, func() bool { return d.each(func(p *process) bool { return p.ended }) }); err != nil {
		return err
	}
	d.log("✔", "all have left")
	return nil
}

// until takes what the nodes say until ok. Its error says where they stand.
func (d *demo) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case l := <-d.output.lines:
			if err := l.by.take(l); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), d.account())
		}
	}
	return nil
}

func (d *demo) account() string {
	var parts []string
	for _, p := range d.nodes {
		parts = append(parts, fmt.Sprintf("%s has leader %q, voters %q, %d of %d keys, the last error %q",
			p.name, p.leader, p.voters, len(p.values), len(d.values), p.error))
	}
	return strings.Join(parts, "; ")
}
