package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"
	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// listenStreams accepts the streams of a kind, on loopback.
func listenStreams(kind string) (l net.Listener, addr string, err error) {
	if kind == kindMesh {
		m, err := mesh.Listen(meshConfig())
		if err != nil {
			return nil, "", err
		}
		l, err := m.ListenService(subject)
		return l, m.Self().Addr(), err
	}
	c, err := bareTLS()
	if err != nil {
		return nil, "", err
	}
	raw, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	switch l := tls.NewListener(raw, c); kind {
	case kindBare:
		return l, l.Addr().String(), nil
	case kindYamux:
		return &yamuxListener{Listener: l}, l.Addr().String(), nil
	default:
		return nil, "", fmt.Errorf("no streams of kind %q", kind)
	}
}

// dialStreams returns what opens a stream.
func dialStreams(ctx context.Context, kind, addr string) (open func() (net.Conn, error), err error) {
	if kind == kindMesh {
		m, err := mesh.Listen(meshConfig())
		if err != nil {
			return nil, err
		}
		open = func() (net.Conn, error) { return m.Dial(ctx, transport.Node(addr), subject) }
		return open, m.Connect(ctx, transport.Node(addr))
	}
	c, err := bareTLS()
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	switch kind {
	case kindBare:
		return func() (net.Conn, error) { return conn, nil }, nil // there is but one
	case kindYamux:
		s, err := yamux.Client(conn, yamuxConfig())
		if err != nil {
			return nil, err
		}
		return s.Open, nil
	default:
		return nil, fmt.Errorf("no streams of kind %q", kind)
	}
}

func yamuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	return c
}

// A yamuxListener accepts the streams of the first connection. Accept is called
// by one goroutine.
type yamuxListener struct {
	net.Listener
	session *yamux.Session
}

func (l *yamuxListener) Accept() (net.Conn, error) {
	if l.session == nil {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.session, err = yamux.Server(conn, yamuxConfig()); err != nil {
			return nil, err
		}
	}
	return l.session.Accept()
}
