package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// A sender sends one message. data may be used again when it returns, but by the
// floor, which doesn't copy it.
type sender func(data []byte) error

// A receiver is called for each message that comes; data are its own.
type receiver func(data []byte, answer sender)

// A carrier is one side of something that carries messages between two
// processes.
type carrier interface {
	// sender returns a sender for one goroutine. Those of the side that dialled
	// have a stream of their own where there are streams.
	sender() (sender, error)
}

// The further kinds of carriers.
const (
	kindFloor = "floor"
	kindGRPC  = "gRPC"
	kindNATS  = "NATS"
	kindYamux = "yamux"
)

// listen opens the side that is dialled; addr is the server's for NATS.
func listen(kind, addr string, got receiver) (c carrier, at string, err error) {
	switch kind {
	case kindMesh:
		return listenMesh(got)
	case kindGRPC:
		return listenGRPC(got)
	case kindNATS:
		c, err := connectNATS(addr, "dialler", "listener", got)
		return c, addr, err
	case kindFloor, kindYamux:
		return listenFrames(kind, got)
	default:
		return nil, "", fmt.Errorf("no carrier of kind %q", kind)
	}
}

// dial opens the other side.
func dial(ctx context.Context, kind, addr string, got receiver) (carrier, error) {
	switch kind {
	case kindMesh:
		return dialMesh(ctx, addr, got)
	case kindGRPC:
		return dialGRPC(addr, got)
	case kindNATS:
		return connectNATS(addr, "listener", "dialler", got)
	case kindFloor, kindYamux:
		return dialFrames(ctx, kind, addr, got)
	default:
		return nil, fmt.Errorf("no carrier of kind %q", kind)
	}
}

// A meshCarrier sends to the one other node.
type meshCarrier struct {
	mesh   *mesh.Mesh
	got    receiver
	answer sender // is send; as a value of its own, it would be allocated each time
	other  transport.Node
	met    sync.Once
	pings  atomic.Int64 // that were answered
	downs  atomic.Int64 // links that have ended
}

// Heartbeats of links that talk: shorter than what they talk for, so that one
// that is missed is seen.
//
// While bytes come, whatever they are, no ping goes out, so a heartbeat is missed
// when nothing at all has come for talkHeartbeat on a link whose other end always
// has something to say. The link is pinged then: if that is answered, its RTT
// changes, and if nothing comes until talkDownAfter, it is given up.
const (
	talkHeartbeat = 250 * time.Millisecond
	talkDownAfter = 2 * talkHeartbeat // as by default
	// looks is how often in a heartbeat the RTT is looked at: less than two pings
	// fall between two looks.
	looks = 5
)

// unbounded is for queues that would drop what the peers' don't.
const unbounded = 1 << 30

func openMeshCarrier(ctx context.Context, got receiver) (c *meshCarrier, err error) {
	c = &meshCarrier{got: got}
	c.answer = c.send
	cfg := meshConfig()
	cfg.Heartbeat, cfg.DownAfter = talkHeartbeat, talkDownAfter
	cfg.ReceiveQueue = unbounded
	cfg.Handlers = map[string]mesh.Handler{subject: c.handle}
	cfg.Responders = map[string]mesh.Responder{subject: func(_ context.Context, m mesh.Message) ([]byte, error) {
		return m.Data, nil
	}}
	if c.mesh, err = mesh.Listen(cfg); err != nil {
		return nil, err
	}
	go c.watch(c.mesh.Events(context.WithoutCancel(ctx))) // ends with the mesh
	return c, nil
}

func listenMesh(got receiver) (carrier, string, error) {
	c, err := openMeshCarrier(context.Background(), got)
	if err != nil {
		return nil, "", err
	}
	return c, c.mesh.Self().Addr(), nil
}

func dialMesh(ctx context.Context, addr string, got receiver) (carrier, error) {
	c, err := openMeshCarrier(ctx, got)
	if err != nil {
		return nil, err
	}
	c.meet(transport.Node(addr))
	return c, c.mesh.Connect(ctx, transport.Node(addr))
}

// watch counts the pings that are answered, and the links that end.
func (c *meshCarrier) watch(events <-chan mesh.Event) {
	look := time.NewTicker(talkHeartbeat / looks)
	defer look.Stop()
	for rtt := time.Duration(0); ; {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if _, down := e.(mesh.PeerDown); down {
				c.downs.Add(1)
			}
		case <-look.C:
			for _, p := range c.mesh.Peers() { // one, or none yet
				if rtt != 0 && p.RTT != rtt { // the first is of the handshake
					c.pings.Add(1)
				}
				rtt = p.RTT
			}
		}
	}
}

// meet notes who the other node is.
func (c *meshCarrier) meet(n transport.Node) {
	c.met.Do(func() { c.other = n })
}

func (c *meshCarrier) handle(_ context.Context, m mesh.Message) {
	c.meet(m.From)
	c.got(m.Data, c.answer)
}

func (c *meshCarrier) send(data []byte) error {
	return c.mesh.Send(context.Background(), c.other, subject, data)
}

// ask returns when the reply has come.
func (c *meshCarrier) ask(ctx context.Context, data []byte) error {
	_, err := c.mesh.Request(ctx, c.other, subject, data)
	return err
}

func (c *meshCarrier) sender() (sender, error) { return c.send, nil }
