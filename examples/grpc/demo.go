package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
	"google.golang.org/grpc"

	"github.com/libcluster-go/cluster/examples/grpc/greeterpb"
)

const (
	few     = 300  // calls, to see who answers
	many    = 3000 // calls, in the midst of which a node dies
	callers = 8    // who call at once
)

// A demo is the client, itself a node, and the nodes that it calls.
type demo struct {
	settings
	out    io.Writer
	began  time.Time
	nodes  []*process
	self   *node
	conn   *grpc.ClientConn
	client greeterpb.GreeterClient
}

// show runs the demo. Its error names the step that failed, each of which may
// take as long as limit.
func show(ctx context.Context, out io.Writer, limit time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "grpc-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // which is a temporary folder
	d := &demo{settings: settings{secrets: []string{mesh.NewSecret()}, dir: dir}, out: out, began: time.Now()}
	defer func() { err = errors.Join(err, d.close()) }()

	fmt.Fprint(out, "\n  A gRPC service on every node, and a client that balances over the live ones\n\n")
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the client finds the nodes", d.start},
		{"calls go to all", d.callAll},
		{"calls go on when a node is killed", d.kill},
		{"a node that is back is called again", d.restart},
		{"a node that leaves costs no call", d.leave},
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

// start starts three nodes and the client.
func (d *demo) start(ctx context.Context) (err error) {
	d.log("→", "starting node-1, node-2 and node-3")
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		if err := d.spawn(ctx, name); err != nil {
			return err
		}
	}
	if d.self, err = startNode("client", d.settings); err != nil {
		return err
	}
	if d.conn, err = dialMesh(d.self.mesh, service); err != nil {
		return err
	}
	d.client = greeterpb.NewGreeterClient(d.conn)
	if err := d.self.sup.WaitNodes(ctx, len(d.nodes)); err != nil {
		return err
	}
	d.log("✔", "the client is linked with %d nodes, and knows what each is called", len(d.nodes))
	return nil
}

func (d *demo) spawn(ctx context.Context, name string) error {
	p, err := spawn(ctx, name, d.settings)
	if err == nil {
		d.nodes = append(d.nodes, p)
	}
	return err
}

// callAll waits until every node has answered, and then sees that all do.
func (d *demo) callAll(ctx context.Context) error {
	for _, p := range d.nodes {
		if err := d.await(ctx, p.name); err != nil {
			return err
		}
	}
	calls, err := d.call(ctx, few, nil)
	if err != nil {
		return err
	}
	for _, p := range d.nodes {
		if calls.by[p.name] == 0 {
			return fmt.Errorf("%s was never called: %s", p.name, calls)
		}
	}
	d.log("✔", "%s", calls)
	return nil
}

// kill kills a node while calls are made. All of them are answered.
func (d *demo) kill(ctx context.Context) error {
	victim := d.nodes[1]
	calls, err := d.call(ctx, many, func() error {
		d.log("✗", "kill -9 %s (pid %d), while calls are made", victim.name, victim.cmd.Process.Pid)
		return victim.kill()
	})
	if err != nil {
		return err
	}
	d.log("✔", "%s; none failed, the slowest took %s", calls, calls.slowest.Round(100*time.Microsecond))
	return nil
}

func (d *demo) restart(ctx context.Context) error {
	name := d.nodes[1].name
	d.nodes = slices.Delete(d.nodes, 1, 2)
	if err := d.spawn(ctx, name); err != nil {
		return err
	}
	d.log("→", "starting %s again (pid %d)", name, d.nodes[len(d.nodes)-1].cmd.Process.Pid)
	return d.callAll(ctx)
}

// leave has a node leave while calls are made, and then the others.
func (d *demo) leave(ctx context.Context) error {
	first := d.nodes[0]
	calls, err := d.call(ctx, many, func() error {
		d.log("→", "%s leaves, while calls are made", first.name)
		return first.leave()
	})
	if err != nil {
		return err
	}
	d.log("✔", "%s; none failed", calls)
	for _, p := range d.nodes {
		if err := p.leave(); err != nil {
			return err
		}
	}
	d.log("✔", "all have left")
	return nil
}

// await calls until a node has answered.
func (d *demo) await(ctx context.Context, name string) error {
	for {
		reply, err := d.client.Greet(ctx, &greeterpb.GreetRequest{Name: "client"})
		if err != nil {
			return fmt.Errorf("waiting for an answer of %s: %w", name, err)
		}
		if reply.GetNode() == name {
			return nil
		}
	}
}

// A tally says who has answered how many calls.
type tally struct {
	by      map[string]int
	slowest time.Duration
}

func (t tally) String() string {
	total := 0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(t.by)) {
		total += t.by[name]
		parts = append(parts, fmt.Sprintf("%s %d", name, t.by[name]))
	}
	return fmt.Sprintf("%d calls were answered: %s", total, strings.Join(parts, ", "))
}

// call makes n calls from several goroutines, and calls midway, if it isn't nil,
// when a third of them is done.
func (d *demo) call(ctx context.Context, n int, midway func() error) (tally, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo, third := make(chan int), make(chan struct{})
	var mu sync.Mutex
	all := tally{by: map[string]int{}}
	one := func() error {
		began := time.Now()
		reply, err := d.client.Greet(ctx, &greeterpb.GreetRequest{Name: "client"})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all.by[reply.GetNode()]++
		all.slowest = max(all.slowest, time.Since(began))
		return nil
	}
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for range todo {
				if err := one(); err != nil {
					cancel(fmt.Errorf("a call failed: %w", err))
				}
			}
		})
	}
	calling.Go(func() {
		if <-third; midway != nil {
			if err := midway(); err != nil {
				cancel(err)
			}
		}
	})
	for i := range n {
		if i == n/3 {
			close(third)
		}
		todo <- i
	}
	close(todo)
	calling.Wait()
	return all, context.Cause(ctx)
}

// close ends whatever is still there.
func (d *demo) close() error {
	var errs []error
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	if d.self != nil {
		errs = append(errs, d.self.close())
	}
	for _, p := range d.nodes {
		errs = append(errs, p.kill())
	}
	return errors.Join(errs...)
}
