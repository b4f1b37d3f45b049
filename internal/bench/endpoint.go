package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	secret  = "only the benchmarks know it, 0123456789"
	subject = "load"
	chunk   = 16 << 10 // of what is exchanged
	message = 1 << 10  // of what is sent under load
)

// An endpoint is one end of links of either kind: of a mesh, or of the least
// that could do the same, which is a TLS connection with one blocked reader.
type endpoint interface {
	// addr is where others dial it.
	addr() string
	// dial links it with another, and returns when both may send.
	dial(ctx context.Context, addr string) error
	// links is how many there are now.
	links() int
	// send sends on every link, and returns when all is handed over.
	send(ctx context.Context, data []byte) error
	// received counts the bytes that have come in all.
	received() int64
	// down is closed, after at is set, when the first link has ended.
	down() *moment
	close() error
}

// The kinds of endpoints.
const (
	kindMesh = "mesh"
	kindBare = "bare TLS"
)

// open makes an endpoint of a kind. A mesh has the default settings, but for
// what is set here.
func open(kind string, exchange bool) (endpoint, error) {
	switch kind {
	case kindMesh:
		return openMesh(exchange)
	case kindBare:
		return openBare()
	default:
		return nil, fmt.Errorf("no endpoints of kind %q", kind)
	}
}

// A moment is when something happened.
type moment struct {
	once     sync.Once
	happened chan struct{}
	at       time.Duration // of the machine's monotonic clock
	err      error
}

func newMoment() *moment { return &moment{happened: make(chan struct{})} }

// now is the moment, unless it has been.
func (m *moment) now() {
	m.once.Do(func() {
		m.at, m.err = monotonic()
		close(m.happened)
	})
}

func (m *moment) wait(ctx context.Context) (time.Duration, error) {
	select {
	case <-m.happened:
		return m.at, m.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for something to happen: %w", context.Cause(ctx))
	}
}

type meshEndpoint struct {
	mesh  *mesh.Mesh
	bytes atomic.Int64
	ended *moment
}

func meshConfig() mesh.Config {
	return mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
}

func openMesh(exchange bool) (*meshEndpoint, error) {
	e := &meshEndpoint{ended: newMoment()}
	cfg := meshConfig()
	cfg.NoPeerExchange = !exchange
	cfg.Handlers = map[string]mesh.Handler{subject: func(_ context.Context, m mesh.Message) {
		e.bytes.Add(int64(len(m.Data)))
	}}
	m, err := mesh.Listen(cfg)
	if err != nil {
		return nil, err
	}
	e.mesh = m
	return e, nil
}

// watch notes when the first peer goes down. It isn't part of every endpoint:
// a subscription takes memory.
func (e *meshEndpoint) watch() {
	events := e.mesh.Events(context.Background()) // ends with the mesh
	go func() {
		for event := range events {
			if _, ok := event.(mesh.PeerDown); ok {
				e.ended.now()
			}
		}
	}()
}

func (e *meshEndpoint) addr() string { return e.mesh.Self().Addr() }

func (e *meshEndpoint) dial(ctx context.Context, addr string) error {
	return e.mesh.Connect(ctx, transport.Node(addr))
}

func (e *meshEndpoint) links() int {
	nodes, _ := e.mesh.ListNodes(context.Background()) // never fails
	return len(nodes)
}

func (e *meshEndpoint) send(ctx context.Context, data []byte) error {
	return e.mesh.Broadcast(ctx, subject, data)
}

func (e *meshEndpoint) received() int64 { return e.bytes.Load() }

func (e *meshEndpoint) down() *moment { return e.ended }

func (e *meshEndpoint) close() error { return e.mesh.Close() }

// sendAll sends so many bytes on every link, and waits until as many have come
// on each.
func sendAll(ctx context.Context, e endpoint, size int) error {
	data := bytes.Repeat([]byte{1}, chunk)
	for sent := 0; sent < size; sent += chunk {
		if err := e.send(ctx, data); err != nil {
			return err
		}
	}
	want := int64(e.links() * size)
	return until(ctx, fmt.Sprintf("%d bytes have come", want), func() bool { return e.received() >= want })
}

// until polls: what it waits for has no signal that is the same for all kinds.
func until(ctx context.Context, what string, met func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
