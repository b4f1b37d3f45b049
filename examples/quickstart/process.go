package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

// A process is a node that this program has started, and what it has said.
type process struct {
	name  string
	node  cluster.Node
	cmd   *exec.Cmd
	input io.WriteCloser

	state    state
	links    []cluster.Node
	messages int
	ended    bool
	err      error // how it ended

	// While it is left running.
	stray     time.Time // since when no other node is linked with it; zero if one is
	strayTold bool
}

// A state is what this program has done to a process.
type state string

const (
	started state = ""
	killed  state = "killed"
	left    state = "left"
)

// start starts a node, whose reports go to to.
func start(name string, node cluster.Node, registry, secret string, to *reports) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, node: node, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), registryEnv+"="+registry,
		cluster.EnvSecret+"="+secret, cluster.EnvBind+"="+node.Addr(), cluster.EnvAdvertise+"=")
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	to.from(p, output)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// tell gives the node a line to send to all others.
func (p *process) tell(line string) { _, _ = fmt.Fprintln(p.input, line) } // a node that is gone doesn't hear it

// leave has the node leave: its input ends.
func (p *process) leave() { _ = p.input.Close() } // it may have ended

func (p *process) sees(o *process) bool { return slices.Contains(p.links, o.node) }

// take keeps what the node says. A node that can't go on is an error.
func (p *process) take(r report) error {
	switch r.Event {
	case eventLinks:
		p.links = r.Nodes
	case eventMessage:
		p.messages++
	case eventError:
		return fmt.Errorf("%s: %s", p.name, r.Error)
	case eventEnded:
		p.links, p.ended, p.err = nil, true, r.err
		if p.state == started {
			return &endedError{p}
		}
	}
	return nil
}

// account says where the node stands, for when a step fails.
func (p *process) account(nodes []*process) string {
	if p.state != started {
		return fmt.Sprintf("%-7s  was %s", p.name, p.state)
	}
	var missing []string
	for _, o := range nodes {
		if o != p && !p.sees(o) {
			missing = append(missing, o.name)
		}
	}
	if len(missing) == 0 {
		missing = []string{"nobody"}
	}
	return fmt.Sprintf("%-7s  has %s, lacks %s", p.name, count(p.messages, "message"), strings.Join(missing, " "))
}

// An endedError is a node that ended though nobody asked it to, or wrongly.
type endedError struct{ by *process }

func (e *endedError) Error() string {
	how := "by itself"
	if e.by.err != nil {
		how = e.by.err.Error()
	}
	return fmt.Sprintf("%s (pid %d) has ended: %s", e.by.name, e.by.pid(), how)
}

// Reports are what all nodes say, in one queue.
type reports struct {
	all     chan said
	ignored chan struct{} // closed when nobody reads all any more
	readers sync.WaitGroup
}

// A said is a report, and whose it is.
type said struct {
	by *process
	report
}

func newReports() *reports {
	return &reports{all: make(chan said), ignored: make(chan struct{})}
}

// from reads a process's output until it ends. close waits for that.
func (r *reports) from(p *process, output io.Reader) {
	put := func(s said) {
		select {
		case r.all <- s:
		case <-r.ignored:
		}
	}
	r.readers.Go(func() {
		for s := bufio.NewScanner(output); s.Scan(); {
			var r report
			if json.Unmarshal(s.Bytes(), &r) == nil {
				put(said{p, r})
			}
		}
		put(said{p, report{Event: eventEnded, err: p.cmd.Wait()}})
	})
}

// close has all nodes leave, kills those that don't, and returns when all have
// ended.
func (r *reports) close(nodes []*process) {
	close(r.ignored)
	for _, p := range nodes {
		p.leave()
	}
	impatient := time.AfterFunc(2*time.Second, func() {
		for _, p := range nodes {
			_ = p.cmd.Process.Kill() // it may have ended
		}
	})
	defer impatient.Stop()
	r.readers.Wait()
}

// freeAddrs are addresses of loopback that nothing listens on. They are below
// the ports that systems give to outgoing connections, of which one could take
// that of a node that is down for a moment.
func freeAddrs(n int) ([]cluster.Node, error) {
	const lowest, highest = 10000, 32000
	var addrs []cluster.Node
	var failed error
	for port := lowest + rand.IntN((highest-lowest)/2); len(addrs) < n; port++ {
		if port > highest {
			return nil, errors.Join(fmt.Errorf("no %d ports of 127.0.0.1 are free", n), failed)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			failed = err
			continue
		}
		addrs = append(addrs, cluster.Node(l.Addr().String()))
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}
