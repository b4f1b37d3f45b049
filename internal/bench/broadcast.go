package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	castSubject = "cast"
	ackSubject  = "ack"
	castSize    = kib

	// fillSize is a message's of those that fill the queue of a stopped process.
	fillSize = 64 * kib
	// fullAfter is how long there is no room in a queue that is taken for full.
	fullAfter = 200 * time.Millisecond
)

// A cast is what broadcasts have come to: until all that run have answered.
type cast struct {
	p50 float64 // seconds, of one
	all float64 // seconds, of all
}

// broadcastCase broadcasts to n-1 peers of which one is stopped, and its queue
// full. The peer is the same mesh without that one.
func broadcastCase(n, casts int) benchCase {
	without := fmt.Sprintf("%d peers", n-2)
	all := []measured[cast]{
		{metric{fmt.Sprintf("time of %d", casts), unitSeconds, without, atMost(1.2).ofPeer()}, func(c cast) float64 { return c.all }},
		{metric{"p50 of one", unitSeconds, without, goal{}}, func(c cast) float64 { return c.p50 }},
	}
	return besideCase(fmt.Sprintf("broadcast to %d peers, one stopped", n-1), all,
		func(ctx context.Context, kind string) (cast, error) {
			if kind == without {
				return measureCasts(ctx, n-1, casts, false)
			}
			return measureCasts(ctx, n, casts, true)
		})
}

func measureCasts(ctx context.Context, n, casts int, stop bool) (cast, error) {
	nodes, err := startNodes(ctx, n, kindMesh)
	if err != nil {
		return cast{}, err
	}
	defer nodes.stop()
	if err := nodes.begin("Node.Acknowledge", none, none)(); err != nil {
		return cast{}, err
	}
	args := CastArgs{N: max(casts/8, 1), Answers: n - 1}
	if err := nodes[0].call("Node.Cast", args, new([]time.Duration)); err != nil { // unmeasured
		return cast{}, err
	}
	if stop {
		args.Answers--
		if err := freeze(nodes[0], nodes[n-1]); err != nil {
			return cast{}, err
		}
	}
	args.N = casts
	var took []time.Duration
	if err := nodes[0].call("Node.Cast", args, &took); err != nil {
		return cast{}, err
	}
	c := cast{p50: quantile(took, 0.5).Seconds()}
	for _, t := range took {
		c.all += t.Seconds()
	}
	return c, nil
}

// freeze stops a process, and fills what another has queued for it.
func freeze(sender, victim *process) error {
	var addr string
	if err := victim.call("Node.Addr", false, &addr); err != nil {
		return err
	}
	if err := victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping a child: %w", err)
	}
	return sender.call("Node.Fill", addr, new(nothing))
}

func (n *Node) mesh() *mesh.Mesh { return n.end.(*meshEndpoint).mesh }

// Addr returns this node's address.
func (n *Node) Addr(_ nothing, addr *string) error { //nolint:unparam // as Load's
	*addr = n.end.addr()
	return nil
}

// Acknowledge has this node answer broadcasts, and take the answers to its own.
func (n *Node) Acknowledge(nothing, *nothing) error {
	n.acks = make(chan uint64, 1<<10)
	return errors.Join(
		n.mesh().Handle(castSubject, func(ctx context.Context, m mesh.Message) {
			_ = n.mesh().Send(ctx, m.From, ackSubject, m.Data[:8]) // whoever broadcasts misses it
		}),
		n.mesh().Handle(ackSubject, func(_ context.Context, m mesh.Message) {
			n.acks <- binary.BigEndian.Uint64(m.Data)
		}))
}

// Fill sends to a node until there is no room.
func (n *Node) Fill(addr string, _ *nothing) error {
	data := make([]byte, fillSize)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), fullAfter)
		err := n.mesh().Send(ctx, transport.Node(addr), subject, data)
		cancel()
		if errors.Is(err, mesh.ErrQueueFull) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// CastArgs says how often to broadcast, and how many answer each time.
type CastArgs struct{ N, Answers int }

// Cast broadcasts, each time until so many have answered, and returns how long
// each took.
func (n *Node) Cast(args CastArgs, took *[]time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), talkWithin)
	defer cancel()
	for range args.N {
		d, err := n.castOnce(ctx, args.Answers)
		if err != nil {
			return err
		}
		*took = append(*took, d)
	}
	select {
	case <-n.end.down().happened:
		return errors.New("a link has ended")
	default:
		return nil
	}
}

// castOnce gives up the queue that is full once all others have answered.
func (n *Node) castOnce(ctx context.Context, answers int) (time.Duration, error) {
	n.casts++
	data := make([]byte, castSize)
	binary.BigEndian.PutUint64(data, n.casts)
	sending, enough := context.WithCancel(ctx)
	defer enough()
	sent := make(chan error, 1)
	began := time.Now()
	go func() { sent <- n.mesh().Broadcast(sending, castSubject, data) }()
	for range answers {
		select {
		case cast := <-n.acks:
			if cast != n.casts {
				return 0, fmt.Errorf("an answer to broadcast %d during %d", cast, n.casts)
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for %d answers to broadcast %d: %w", answers, n.casts, context.Cause(ctx))
		}
	}
	took := time.Since(began)
	enough()
	if err := <-sent; err != nil && !errors.Is(err, mesh.ErrQueueFull) {
		return 0, err
	}
	return took, nil
}
