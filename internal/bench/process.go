package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
)

// childEnv makes this program a child: it does what its parent calls over its
// standard input and output, until that ends.
const childEnv = "CLUSTER_BENCH_CHILD"

// stdio is a child's connection with its parent.
type stdio struct {
	io.ReadCloser
	io.Writer
}

// serveParent reports whether this process was a child, which has ended then.
func serveParent() (child bool, err error) {
	if os.Getenv(childEnv) == "" {
		return false, nil
	}
	if err := raiseFiles(); err != nil {
		return true, err
	}
	s := rpc.NewServer()
	if err := errors.Join(s.Register(&Forming{}), s.Register(&Node{}), s.Register(&Links{}), s.Register(&Talk{})); err != nil {
		return true, err
	}
	s.ServeConn(stdio{os.Stdin, os.Stdout})
	return true, nil
}

// A process is this program once more.
type process struct {
	cmd    *exec.Cmd
	client *rpc.Client
}

// start starts a process with further variables in its environment.
func start(ctx context.Context, env ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(append(os.Environ(), childEnv+"=1"), env...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a child: %w", err)
	}
	p.client = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
	return p, nil
}

// call has the process do something, and waits for it.
func (p *process) call(method string, args, reply any) error {
	if err := p.client.Call(method, args, reply); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// kill ends the process as kill -9 does.
func (p *process) kill() error { return p.cmd.Process.Kill() }

// stop ends the process, and returns once it is gone.
func (p *process) stop() {
	_ = p.client.Close() // ends its input, too
	_ = p.kill()         // nothing it could still do is of interest
	_ = p.cmd.Wait()
}

// A crowd is several processes.
type crowd []*process

func startCrowd(ctx context.Context, n int) (crowd, error) {
	var c crowd
	for range n {
		p, err := start(ctx)
		if err != nil {
			c.stop()
			return nil, err
		}
		c = append(c, p)
	}
	return c, nil
}

func (c crowd) stop() {
	for _, p := range c {
		_ = p.kill()
	}
	for _, p := range c {
		p.stop()
	}
}

// begin has each process do something; the func that it returns waits for all.
// Both args and reply are called with a process's place.
func (c crowd) begin(method string, args, reply func(i int) any) (wait func() error) {
	calls := make([]*rpc.Call, len(c))
	for i, p := range c {
		calls[i] = p.client.Go(method, args(i), reply(i), make(chan *rpc.Call, 1))
	}
	return func() error {
		var all []error
		for _, call := range calls {
			if err := (<-call.Done).Error; err != nil {
				all = append(all, fmt.Errorf("%s: %w", method, err))
			}
		}
		return errors.Join(all...)
	}
}

// nothing is for calls that take or return nothing, which package rpc lacks.
type nothing = bool

func none(int) any { return new(nothing) }
