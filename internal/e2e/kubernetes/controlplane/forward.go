//go:build linux

package controlplane

import (
	"context"
	"io"
	"net"
	"sync"
)

// Forward returns the URL of a port of the machine's own loopback that leads to the
// API server, whose certificate is good for that, too: for clients in the test's
// process that no Dial can be given. It is closed when the test ends.
func (p *Plane) Forward() (url string) {
	p.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		p.tb.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			all.Go(func() { p.forward(ctx, conn) })
		}
	})
	p.tb.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
	})
	return "https://" + l.Addr().String()
}

// forward passes on what either side says until one has ended, or ctx is done. If
// the API server isn't there, the client sees its connection end.
func (p *Plane) forward(ctx context.Context, from net.Conn) {
	to, err := p.host.Dial(ctx, "tcp", p.Addr.String())
	if err != nil {
		_ = from.Close()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ways sync.WaitGroup
	for _, way := range []struct{ to, from net.Conn }{{to, from}, {from, to}} {
		ways.Go(func() {
			defer cancel()
			_, _ = io.Copy(way.to, way.from)
		})
	}
	<-ctx.Done()
	_, _ = from.Close(), to.Close()
	ways.Wait()
}
