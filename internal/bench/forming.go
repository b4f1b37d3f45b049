package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// Settings of GODEBUG: which key exchange TLS does.
const (
	defaultExchange = ""
	x25519          = "GODEBUG=tlsmlkem=0,tlssecpmlkem=0"
)

// formWithin is how long anything may take to form.
const formWithin = 2 * time.Minute

// formingCase has n nodes in one process link, each with all others.
func formingCase(n int, exchange string, most float64, rivals bool) benchCase {
	c := benchCase{name: fmt.Sprintf("forming %d", n)}
	if exchange == x25519 {
		c.name += " with X25519 alone"
	}
	c.metrics = []metric{
		{name: "CPU", unit: unitSeconds, peer: kindBare, goal: atMost(most).ofPeer()},
		{name: "time", unit: unitSeconds, peer: kindBare},
	}
	if rivals {
		c.metrics = append(c.metrics, metric{name: "time", unit: unitSeconds, peer: "memberlist", goal: atMost(1).ofPeer()})
	}
	c.run = func(ctx context.Context, round int) ([]reading, error) {
		p, err := start(ctx, exchange)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		// Unmeasured: the first work of a process pays for its heap.
		if err := p.call("Forming.Bare", max(n/2, 2), new(Cost)); err != nil {
			return nil, err
		}
		var ours, bare, members Cost
		err = inTurn(round,
			func() error { return p.call("Forming.Mesh", n, &ours) },
			func() error { return p.call("Forming.Bare", n, &bare) })
		if err != nil {
			return nil, err
		}
		readings := []reading{
			{ours.CPU.Seconds(), bare.CPU.Seconds()},
			{ours.Wall.Seconds(), bare.Wall.Seconds()},
		}
		if rivals {
			if err := p.call("Forming.Memberlist", n, &members); err != nil {
				return nil, err
			}
			readings = append(readings, reading{ours.Wall.Seconds(), members.Wall.Seconds()})
		}
		return readings, nil
	}
	return c
}

// Forming is what a child does for these cases. Its methods are called one at a
// time, with how many nodes there are.
type Forming struct{}

// Mesh has each of n meshes connect all others, until each has n-1 peers.
func (Forming) Mesh(n int, c *Cost) (err error) {
	meshes, err := openAll(n, kindMesh)
	defer func() { err = errors.Join(err, closeAll(meshes)) }()
	if err != nil {
		return err
	}
	*c, err = metered(func() error {
		return linkAll(meshes, func(i, j int) bool { return i != j })
	})
	return err
}

// Bare makes as many connections, without the mesh.
func (Forming) Bare(n int, c *Cost) (err error) {
	ends, err := openAll(n, kindBare)
	defer func() { err = errors.Join(err, closeAll(ends)) }()
	if err != nil {
		return err
	}
	*c, err = metered(func() error {
		return linkAll(ends, func(i, j int) bool { return i < j })
	})
	return err
}

func openAll(n int, kind string) (all []endpoint, err error) {
	for range n {
		e, err := open(kind, true)
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

func closeAll(all []endpoint) error {
	errs := make(chan error, len(all))
	for _, e := range all {
		go func() { errs <- e.close() }()
	}
	var failed []error
	for range all {
		failed = append(failed, <-errs)
	}
	return errors.Join(failed...)
}

// linkAll has i dial j wherever dials says so, all at once, and returns when
// each has a link with every other.
func linkAll(all []endpoint, dials func(i, j int) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	errs := make(chan error, len(all)*len(all))
	count := 0
	for i, from := range all {
		for j, to := range all {
			if dials(i, j) {
				count++
				go func() { errs <- dialOn(ctx, from, to.addr()) }()
			}
		}
	}
	for range count {
		if err := <-errs; err != nil {
			return err
		}
	}
	return until(ctx, "all are linked", func() bool {
		for _, e := range all {
			if e.links() != len(all)-1 {
				return false
			}
		}
		return true
	})
}

// dialOn tries again when it fails, as whoever wants a link does. It is paid
// for.
func dialOn(ctx context.Context, from endpoint, addr string) error {
	for {
		err := from.dial(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Memberlist has n members join the first, all at once, until each knows all.
func (Forming) Memberlist(n int, c *Cost) (err error) {
	var members []*memberlist.Memberlist
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.Shutdown())
		}
	}()
	for i := range n {
		cfg := memberlist.DefaultLANConfig()
		cfg.Name = fmt.Sprintf("member-%d", i)
		cfg.BindAddr, cfg.BindPort, cfg.AdvertisePort = "127.0.0.1", 0, 0
		cfg.LogOutput = io.Discard
		m, err := memberlist.Create(cfg)
		if err != nil {
			return fmt.Errorf("memberlist: %w", err)
		}
		members = append(members, m)
	}
	*c, err = metered(func() error { return joinAll(members) })
	return err
}

func joinAll(members []*memberlist.Memberlist) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	first := members[0].LocalNode()
	seed := net.JoinHostPort(first.Addr.String(), fmt.Sprint(first.Port))
	errs := make(chan error, len(members))
	for _, m := range members[1:] {
		go func() {
			_, err := m.Join([]string{seed})
			errs <- err
		}()
	}
	for range members[1:] {
		if err := <-errs; err != nil {
			return fmt.Errorf("memberlist: join: %w", err)
		}
	}
	return until(ctx, "all members know all", func() bool {
		for _, m := range members {
			if m.NumMembers() != len(members) {
				return false
			}
		}
		return true
	})
}
