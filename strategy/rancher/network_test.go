package rancher

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// A network is a server in memory and a client that reaches it, for bubbles of
// testing/synctest.
type network struct {
	conns chan net.Conn
	done  chan struct{}

	mu   sync.Mutex
	fail error // of every dial
}

// serve serves handler until the test ends.
func serve(tb testing.TB, handler http.Handler) *network {
	tb.Helper()
	n := &network{conns: make(chan net.Conn), done: make(chan struct{})}
	server := http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := server.Serve(n); !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("Serve returns %v", err)
		}
	})
	tb.Cleanup(func() { _ = server.Close(); wait.Wait() })
	return n
}

// client returns one that makes each connection to the server, wherever it is
// told to, from the address of self.
func (n *network) client() *http.Client { return n.clientAt(self.Host()) }

// clientAt is client from an address.
func (n *network) clientAt(host string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx, host) }
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func (n *network) setFail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

func (n *network) dial(ctx context.Context, from string) (net.Conn, error) {
	n.mu.Lock()
	err := n.fail
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	select {
	case n.conns <- remote{there, from}:
		return here, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// A remote is a connection from a host.
type remote struct {
	net.Conn

	host string
}

func (r remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(r.host), Port: 40000} }

// Accept, Close and Addr make it a net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	close(n.done)
	return nil
}

func (n *network) Addr() net.Addr { return &net.IPAddr{} }

// start runs a strategy until the test ends and returns what it tells.
func start(t *testing.T, s cluster.Strategy, self cluster.Node) <-chan cluster.Change {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan cluster.Change, 10000)
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx, cluster.NewRoster(self, nil, func(c cluster.Change) { told <- c })); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return told
}

// next waits for what is told next, for at most a minute.
func next(t *testing.T, told <-chan cluster.Change) cluster.Change {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	select {
	case c := <-told:
		return c
	case <-deadline.C:
		t.Fatal("it tells nothing for a minute")
		return cluster.Change{}
	}
}
