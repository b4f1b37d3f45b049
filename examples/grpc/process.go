package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/libcluster-go/cluster"
)

// A process is a node that this program has started.
type process struct {
	name  string
	cmd   *exec.Cmd
	input io.Closer // the node leaves when it ends, which it also does if this program is killed
	ended bool
}

// spawn starts this program again as one node, which lives until it is killed or
// asked to leave: ctx may be that of one step.
func spawn(ctx context.Context, name string, s settings) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.CommandContext(context.WithoutCancel(ctx), self, "-serve", name, "-dir", s.dir)}
	p.cmd.Env = append(os.Environ(), cluster.EnvSecret+"="+strings.Join(s.secrets, ","))
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// kill doesn't let the node say goodbye.
func (p *process) kill() error {
	if p.ended {
		return nil
	}
	p.ended = true
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	_ = p.cmd.Wait() // says that it was killed
	return nil
}

// leave asks the node to leave, and waits until it has. One that doesn't is
// killed.
func (p *process) leave() error {
	if p.ended {
		return nil
	}
	p.ended = true
	impatient := time.AfterFunc(2*leaveWithin, func() { _ = p.cmd.Process.Kill() }) // it may have ended just now
	defer impatient.Stop()
	_ = p.input.Close() // as when it has ended by itself, which Wait tells
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
