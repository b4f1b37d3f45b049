package main

import (
	"context"
	"errors"
	"time"
)

// Node is what a child does as one of several processes, each of which has one
// endpoint. Its methods are called one at a time, but for Down.
type Node struct {
	end endpoint

	// Of broadcasts: how many this node has made, and to which others answer.
	casts uint64
	acks  chan uint64
}

// Open opens an endpoint of a kind, and returns its address.
func (n *Node) Open(kind string, addr *string) error {
	e, err := open(kind, true)
	if err != nil {
		return err
	}
	if m, ok := e.(*meshEndpoint); ok {
		m.watch()
	}
	n.end, *addr = e, e.addr()
	return nil
}

// Connect links this node with others.
func (n *Node) Connect(addrs []string, _ *nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	errs := make(chan error, len(addrs))
	for _, a := range addrs {
		go func() { errs <- dialOn(ctx, n.end, a) }()
	}
	var all []error
	for range addrs {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// Linked waits until there are so many links.
func (n *Node) Linked(count int, _ *nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	return until(ctx, "all are linked", func() bool { return n.end.links() == count })
}

// Load begins to send to all others as fast as can be, until a link ends.
func (n *Node) Load(nothing, *nothing) error { //nolint:unparam // package rpc wants an error
	go func() {
		data := make([]byte, message)
		for n.end.send(context.Background(), data) == nil {
		}
	}()
	return nil
}

// Received returns how many bytes have come.
func (n *Node) Received(_ nothing, bytes *int64) error { //nolint:unparam // as Load's
	*bytes = n.end.received()
	return nil
}

// Down waits for the end of a link, and returns when that was noticed.
func (n *Node) Down(_ nothing, at *time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), noticeWithin)
	defer cancel()
	*at, err = n.end.down().wait(ctx)
	return err
}

// CPU returns what this process has used.
func (n *Node) CPU(_ nothing, used *time.Duration) (err error) {
	*used, err = cpuTime()
	return err
}

// startNodes starts n processes that are all linked.
func startNodes(ctx context.Context, n int, kind string) (nodes crowd, err error) {
	nodes, err = startCrowd(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			nodes.stop()
		}
	}()
	addrs := make([]string, n)
	same := func(v any) func(int) any { return func(int) any { return v } }
	if err := nodes.begin("Node.Open", same(kind), func(i int) any { return &addrs[i] })(); err != nil {
		return nil, err
	}
	others := func(i int) any {
		if kind == kindBare {
			return addrs[:i]
		}
		return append(append([]string{}, addrs[:i]...), addrs[i+1:]...)
	}
	if err := nodes.begin("Node.Connect", others, none)(); err != nil {
		return nil, err
	}
	return nodes, nodes.begin("Node.Linked", same(n-1), none)()
}
