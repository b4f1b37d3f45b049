// Package static discovers the nodes of a list that doesn't change.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: static.Strategy{Hosts: []string{"10.0.0.1", "10.0.0.2:4371", "web.internal"}, Port: 4370},
//	}
//
// A host that is a name stands for all its addresses: "web.internal:4370" is
// passed on as it is, and the transport resolves it at every attempt.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once.
package static

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

// Strategy discovers Hosts, once. Its zero value discovers nobody: a cluster of
// one.
type Strategy struct {
	// Hosts are "host", "host:port" or either after "name@", with an IPv6
	// address in brackets if a port follows. This node may be among them, so
	// that all nodes can have the same list. A name stands for all its addresses,
	// and is resolved again every now and then: new ones are dialled; one that it
	// has no more is not, but its link is left alone, since the node may be well.
	Hosts []string

	// Port is that of the hosts without one. Zero means that each must have its
	// own.
	Port int
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field and host that is wrong, and what would be right.
func (s Strategy) Validate() error {
	_, err := s.nodes()
	return err
}

// Run implements [cluster.Strategy]: one answer, which is the whole, and no more.
// Its error is that of Validate.
func (s Strategy) Run(_ context.Context, r *cluster.Roster) error {
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	r.Replace(nodes)
	return nil
}

func (s Strategy) nodes() ([]cluster.Node, error) {
	var wrong []error
	if s.Port < 0 || s.Port > 65535 {
		wrong = append(wrong, fmt.Errorf("static: Port is %d; want 1 to 65535, or 0 if each host has its own", s.Port))
	}
	nodes := make([]cluster.Node, 0, len(s.Hosts))
	for i, h := range s.Hosts {
		n, err := transport.ParseNodeWithPort(h, s.Port)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("static: Hosts[%d] is %q%w", i, h, s.fault(h, err)))
			continue
		}
		nodes = append(nodes, n)
	}
	if len(wrong) == 0 {
		return nodes, nil
	}
	all := wrong[0]
	for _, err := range wrong[1:] { // in the same line, whose start names the topology
		all = fmt.Errorf("%w; %w", all, err)
	}
	return nil, all
}

// fault says what is wrong with h, of which err is the parser's, and what would
// be right.
func (s Strategy) fault(h string, err error) error {
	const example = `such as "10.0.0.1:4370" or "web.internal:4370"`
	if _, err := transport.ParseNodeWithPort(h, 1); err == nil {
		return errors.New(" and has no port; set Port, or give it one of its own, " + example)
	}
	// The parser's error quotes h, and wraps one that doesn't.
	return fmt.Errorf(": %w; write it like one that is valid, %s", errors.Unwrap(err), example)
}
