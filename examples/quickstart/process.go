package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/libcluster-go/cluster"
)

// A process is a node that this program has started.
type process struct {
	name  string
	node  cluster.Node
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan error // holds how it ended

	sees     []cluster.Node // the latest report
	messages int
	down     bool // it has been killed
}

// A said is a report, and whose it is.
type said struct {
	by *process
	report
}

// start starts a node, whose reports go to reports.
func start(name string, node cluster.Node, hosts []string, secret string, reports chan<- said) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, node: node, cmd: exec.Command(self), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), hostsEnv+"="+strings.Join(hosts, " "),
		cluster.EnvSecret+"="+secret, cluster.EnvBind+"="+node.Addr(), cluster.EnvAdvertise+"=")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			var r report
			if json.Unmarshal(s.Bytes(), &r) == nil {
				reports <- said{p, r}
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	return p, nil
}

// tell gives the node a line of input.
func (p *process) tell(line string) { _, _ = fmt.Fprintln(p.in, line) } // a node that is gone doesn't hear it

// freeAddrs are addresses of loopback that nothing listens on.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that no port is given twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
