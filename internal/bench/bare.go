package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// bareALPN is as long as the mesh's.
const bareALPN = "cluster-bare/1"

// bareTLS makes handshakes of the mesh's kind: TLS 1.3, an Ed25519 certificate
// of the acceptor's, no tickets, and nothing verified.
func bareTLS() (*tls.Config, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{bareALPN},
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		InsecureSkipVerify:     true, //nolint:gosec // as the mesh, which has a proof in its place
		SessionTicketsDisabled: true,
	}, nil
}

// readBuffer is what a blocked reader holds.
const readBuffer = 64

// A bareEndpoint is the least that an endpoint could be.
type bareEndpoint struct {
	tls      *tls.Config
	listener net.Listener
	bytes    atomic.Int64
	ended    *moment

	mu     sync.Mutex
	conns  []*tls.Conn
	failed error
}

func openBare() (*bareEndpoint, error) {
	c, err := bareTLS()
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &bareEndpoint{tls: c, listener: l, ended: newMoment()}
	go e.accept()
	return e, nil
}

// accept runs until the listener is closed.
func (e *bareEndpoint) accept() {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				e.fail(err)
			}
			return
		}
		go func() {
			if err := e.take(context.Background(), tls.Server(conn, e.tls)); err != nil {
				e.fail(err)
			}
		}()
	}
}

func (e *bareEndpoint) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = errors.Join(e.failed, err)
}

// take shakes hands, and has the connection read.
func (e *bareEndpoint) take(ctx context.Context, conn *tls.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, conn)
	go e.read(conn)
	return nil
}

func (e *bareEndpoint) read(conn *tls.Conn) {
	b := make([]byte, readBuffer)
	for {
		n, err := conn.Read(b)
		e.bytes.Add(int64(n))
		if err != nil {
			e.ended.now()
			_ = conn.Close()
			return
		}
	}
}

func (e *bareEndpoint) addr() string { return e.listener.Addr().String() }

func (e *bareEndpoint) dial(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return e.take(ctx, tls.Client(conn, e.tls))
}

func (e *bareEndpoint) links() int { return len(e.all()) }

func (e *bareEndpoint) all() []*tls.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clip(e.conns)
}

func (e *bareEndpoint) send(_ context.Context, data []byte) error {
	conns := e.all()
	errs := make(chan error, len(conns))
	for _, c := range conns {
		go func() {
			_, err := c.Write(data)
			errs <- err
		}()
	}
	var all []error
	for range conns {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (e *bareEndpoint) received() int64 { return e.bytes.Load() }

func (e *bareEndpoint) down() *moment { return e.ended }

func (e *bareEndpoint) close() error {
	err := e.listener.Close()
	for _, c := range e.all() {
		_ = c.NetConn().Close() // without a last word
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(err, e.failed)
}
