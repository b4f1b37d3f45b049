package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

// A process is a node that this program has started, and what that has said.
type process struct {
	name   string
	cmd    *exec.Cmd
	input  io.WriteCloser // the node leaves when it ends, which it also does if this program is killed
	leader string
	voters string
	values map[string]string
	error  string // the last that it has told
	state  state
	ended  bool
}

// A state is what this program has done to a process.
type state string

const (
	started state = ""
	killed  state = "killed"
	left    state = "left"
)

var errUnasked = errors.New("nobody asked it to")

// A line is what a node has said; none when it has ended, which err explains.
type line struct {
	by    *process
	text  string
	ended bool
	err   error
}

// An output collects the lines of all nodes.
type output struct {
	lines   chan line
	ignored chan struct{} // closed when nobody reads lines any more
	readers sync.WaitGroup
}

func newOutput() *output {
	return &output{lines: make(chan line), ignored: make(chan struct{})}
}

// spawn starts this program again as one node, which lives until it is killed or
// its input ends: ctx may be that of one step.
func spawn(ctx context.Context, s settings, to *output) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: s.name, values: map[string]string{}}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), self, "-name", s.name, "-dir", s.dir,
		"-registry", s.registry, "-expect", strconv.Itoa(s.expect))
	p.cmd.Env = append(os.Environ(), cluster.EnvSecret+"="+strings.Join(s.secrets, ","))
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.name, err)
	}
	to.readers.Go(func() { to.read(p, stdout) })
	return p, nil
}

// read passes on what a node says, until it has ended.
func (o *output) read(p *process, stdout io.Reader) {
	put := func(l line) {
		select {
		case o.lines <- l:
		case <-o.ignored:
		}
	}
	for s := bufio.NewScanner(stdout); s.Scan(); {
		put(line{by: p, text: s.Text()})
	}
	put(line{by: p, ended: true, err: p.cmd.Wait()})
}

// take keeps what a node says. An end that nobody asked for, or a bad one, is an
// error.
func (p *process) take(l line) error {
	key, value, isValue := strings.Cut(l.text, " = ")
	what, text, _ := strings.Cut(l.text, ": ")
	switch {
	case l.ended:
		p.ended = true
		if p.state == started || p.state == left && l.err != nil {
			return fmt.Errorf("%s has ended: %w; its last error was %q", p.name, cmp.Or(l.err, errUnasked), p.error)
		}
	case isValue:
		p.values[key] = value
	case what == "leader":
		p.leader = text
	case what == "voters":
		p.voters = text
	case what == "error":
		p.error = text
	}
	return nil
}

// tell gives the node a command. One that is gone doesn't hear it.
func (p *process) tell(command string) { _, _ = fmt.Fprintln(p.input, command) }

// kill doesn't let the node say goodbye.
func (p *process) kill() error {
	p.state = killed
	return p.cmd.Process.Kill()
}

// leave asks the node to leave.
func (p *process) leave() {
	p.state = left
	_ = p.input.Close() // it may have ended
}

// close has all nodes leave, kills those that don't, and returns when all have
// ended.
func (o *output) close(nodes []*process) {
	close(o.ignored)
	for _, p := range nodes {
		p.leave()
	}
	impatient := time.AfterFunc(raftTimeout, func() {
		for _, p := range nodes {
			_ = p.cmd.Process.Kill() // it may have ended
		}
	})
	defer impatient.Stop()
	o.readers.Wait()
}
