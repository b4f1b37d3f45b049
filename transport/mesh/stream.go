package mesh

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/libcluster-go/cluster/transport"
)

// Dial opens a stream to a service that a linked node listens for with
// [Mesh.ListenService]: a TCP connection of its own, secured and proved as the
// link is, with TCP's flow control, deadlines and half-close ([tls.Conn.CloseWrite]).
// As with any [tls.Conn], a write that has timed out ends the writing. A name of
// several linked nodes means the first of them, in the order of [Mesh.Peers].
//
// It needs a live link to be opened, and is closed when that very instance leaves,
// is disconnected or evicted, or makes room for another; not merely because the link
// was lost. Its Read and Write then fail with a [NodeError] with [ErrDown], or with
// [ErrClosed] if this mesh was closed. The other end sees a reset, if it hasn't
// closed its own end before, and not [io.EOF]. Its addresses are [NodeAddr].
//
// Dial's error is a [NodeError] with [ErrSubject] if the service's name isn't 1 to
// 255 bytes, [ErrNoNode], [ErrDown] if the node went meanwhile (with ErrNoNode, if
// it did before), [transport.ErrSelf], [ErrClosed], [ErrProof], [ErrProtocol],
// [ErrHandshakeTime], [ErrHungUp], [ErrNotAllowed] if the peer has dialled this node
// and Config.AllowAddr refuses its addresses, what the context or the network said,
// or a [RefusedError]: [CodeNoService] if nobody listens there, [CodeOverloaded] if too
// many streams wait to be accepted, [CodeNoLink] if the link isn't up on the other
// side and doesn't come up there within half of its Config.HandshakeTimeout,
// [CodeOtherInstance] if the node is another by now, [CodeTLS] if a certificate isn't
// good for its node.
func (m *Mesh) Dial(ctx context.Context, n transport.Node, service string) (net.Conn, error) {
	conn, err := m.dialService(ctx, n, service)
	if err != nil && m.ctx.Err() != nil {
		err = ErrClosed
	}
	if err != nil {
		return nil, &NodeError{Op: "dial", Node: n, Err: err}
	}
	return conn, nil
}

func (m *Mesh) dialService(ctx context.Context, n transport.Node, service string) (conn net.Conn, err error) {
	if err := checkSubject(service); err != nil {
		return nil, err
	}
	ctx, done, err := m.within(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := m.route(n)
	if err != nil {
		return nil, err
	}
	p := r.peer
	m.mu.Lock()
	at, addrs := p.dialledAt(), slices.Clone(p.hello.addrs)
	m.mu.Unlock()
	if at != "" { // first where it has been
		addrs = append([]string{at}, slices.DeleteFunc(addrs, func(a string) bool { return a == at })...)
	}
	for _, addr := range addrs {
		var targets []target
		if targets, err = m.resolve(ctx, transport.Node(addr)); err != nil {
			continue
		}
		for _, t := range targets {
			if t.addr != at && !m.allowed(ctx, t.addr) {
				err = ErrNotAllowed
				continue
			}
			err = m.eachSecret(func(key []byte) error {
				conn, err = m.dialStream(ctx, t, key, p, service)
				return err
			})
			if _, refused := errors.AsType[*RefusedError](err); err == nil || refused || ctx.Err() != nil {
				return conn, err
			}
		}
	}
	return nil, err
}

// dialledAt is where this node has dialled a peer; empty if the peer dialled. The
// caller holds mu.
func (p *peer) dialledAt() string {
	if l := p.active; l != nil && l.dialled {
		return l.conn.RemoteAddr().String()
	}
	return ""
}

// dialStream opens a stream to a peer, beside the link that is active then.
func (m *Mesh) dialStream(ctx context.Context, t target, key []byte, p *peer, service string) (net.Conn, error) {
	to := p.hello
	ctx, cancel := context.WithTimeoutCause(ctx, m.cfg.HandshakeTimeout, ErrHandshakeTime)
	defer cancel()
	raw, err := m.network.dial(ctx, t.addr)
	if err != nil {
		return nil, err
	}
	lift := bound(ctx, raw)
	defer lift()
	s, _, err := m.meetHost(ctx, raw, kindStream, t.verifyHost(), key, func(h *hello) error {
		if h.instance != to.instance {
			return refuse(CodeOtherInstance, "%s is instance %s, not %s", h.node, h.instance, to.instance)
		}
		return nil
	})
	if err == nil {
		err = m.openStream(s, p, service)
	}
	if err == nil {
		err = s.awaitWelcome(ctx, lift)
	}
	var conn net.Conn
	if err == nil {
		conn, err = m.addStream(s.conn, to)
	}
	if err != nil {
		_ = raw.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if hungUp(err) {
			err = fmt.Errorf("%w: %w", ErrHungUp, err)
		}
		return nil, err
	}
	return conn, nil
}

// openStream says what a stream is for, and of which link it is.
func (m *Mesh) openStream(s *session, p *peer, service string) error {
	m.mu.Lock()
	l := p.active
	m.mu.Unlock()
	if l == nil {
		return ErrDown
	}
	o := &opening{from: m.self.instance, to: p.hello.instance, link: l.id, service: service}
	copy(o.proof[:], openProof(l.ekm, s.ekm))
	return writeFrame(s.conn, frameOpen, o.encode())
}

// acceptStream takes a stream whose dialler has proved itself.
func (m *Mesh) acceptStream(ctx context.Context, s *session, lift func() bool) error {
	t, payload, err := readFrame(s.conn, openSize+maxSubject)
	switch {
	case err != nil:
		return err
	case t == frameRefuse:
		return peerRefused(payload)
	case t != frameOpen || len(payload) <= openSize:
		return fmt.Errorf("%w: type %d with %d bytes where an open was due", errMalformed, t, len(payload))
	}
	listener, h, err := m.judgeStream(ctx, s, decodeOpen(payload))
	if err != nil {
		s.refuse(err)
		return err
	}
	var conn net.Conn
	if err = s.welcome(ctx, lift); err == nil {
		conn, err = m.addStream(s.conn, h)
	}
	if err != nil {
		listener.giveBack()
		return err
	}
	listener.deliver(conn)
	return nil
}

// judgeStream finds the listener of a stream, with a place for it, and the
// hello of who dialled.
func (m *Mesh) judgeStream(ctx context.Context, s *session, o *opening) (*serviceListener, *hello, error) {
	if o.to != m.self.instance {
		return nil, nil, refuse(CodeOtherInstance, "%s is instance %s, not %s", m.self.node, m.self.instance, o.to)
	}
	l := m.awaitLinked(ctx, o.from, o.link)
	if l == nil || !hmac.Equal(openProof(l.ekm, s.ekm), o.proof[:]) {
		return nil, nil, refuse(CodeNoLink, "%s has no such link with instance %s", m.self.node, o.from)
	}
	service, h := o.service, l.peer.hello
	if err := m.checkPeer(ctx, s, h); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	listener := m.services[service]
	m.mu.Unlock()
	if listener == nil {
		return nil, nil, refuse(CodeNoService, "nobody listens for service %q on %s", service, m.self.node)
	}
	if !listener.reserve() {
		return nil, nil, refuse(CodeOverloaded, "%d streams wait for service %q on %s to accept them", streamBacklog, service, m.self.node)
	}
	return listener, h, nil
}

// awaitLinked returns a link with an instance that is up; nil if there is none. The
// decider is up first, and may dial a stream before this side has read its begin,
// or even its welcome: so this waits as long as a link may be on its way, but leaves
// half of the handshake's time for the refusal.
func (m *Mesh) awaitLinked(ctx context.Context, from instanceID, id linkID) *link {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HandshakeTimeout/2)
	defer cancel()
	for {
		changed, lull := m.changed.Wait(), m.lull.Wait()
		proving := m.proving.Load() > 0 // before looking: it ends when the peer is up
		m.mu.Lock()
		p, l := m.peers[from], m.links[id]
		linked := l != nil && !l.ended.Load() && p != nil && p.up && l.peer == p
		coming := proving || p != nil && l != nil && !l.ended.Load()
		m.mu.Unlock()
		switch {
		case linked:
			return l
		case !coming:
			return nil
		}
		select {
		case <-changed:
		case <-lull:
		case <-ctx.Done():
			return nil
		}
	}
}

// A NodeAddr is the address of an end of a stream: the node itself.
type NodeAddr struct{ Node transport.Node }

// Network returns "mesh".
func (NodeAddr) Network() string { return "mesh" }

// String returns the node.
func (a NodeAddr) String() string { return string(a.Node) }

// A stream is one end of a connection that is not a link.
type stream struct {
	net.Conn
	m    *Mesh
	to   *hello
	down bool // cut, and not closed by the user since; the mesh's mu guards it

	grace grace
}

// Read reads from the other end, as [net.Conn] says. A stream that was cut fails
// with a [NodeError].
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	return n, s.explain("read", err)
}

// Write writes to the other end; its errors are as those of Read.
func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	return n, s.explain("write", err)
}

// explain replaces the error that a cut has caused, which looks like the user's own
// Close. An orderly end before it remains one.
func (s *stream) explain(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	switch {
	case !s.down:
		return err
	case s.m.closed:
		return &NodeError{Op: op, Node: s.to.node, Err: ErrClosed}
	default:
		return &NodeError{Op: op, Node: s.to.node, Err: ErrDown}
	}
}

func (s *stream) LocalAddr() net.Addr  { return NodeAddr{s.m.self.node} }
func (s *stream) RemoteAddr() net.Addr { return NodeAddr{s.to.node} }

// CloseWrite ends the writing side; the other end reads what is on the way, and
// then io.EOF.
func (s *stream) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (s *stream) Close() error {
	s.m.mu.Lock()
	delete(s.m.streams, s)
	s.down = false // for good: only what is in streams is cut
	s.m.mu.Unlock()
	return s.Conn.Close()
}

// addStream keeps a stream, to close it with its instance.
func (m *Mesh) addStream(conn net.Conn, to *hello) (net.Conn, error) {
	s := &stream{Conn: conn, m: m, to: to}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, ErrClosed
	case m.peers[to.instance] == nil:
		return nil, ErrDown
	}
	m.streams[s] = struct{}{}
	return s, nil
}

// endStreams closes the streams whose other end is as asked. The caller holds
// mu, and nothing here waits.
func (m *Mesh) endStreams(is func(*hello) bool) {
	for s := range m.streams {
		if is(s.to) {
			delete(m.streams, s)
			s.down = true
			m.run(s.cut)
		}
	}
}

// cut ends a stream by a reset: crypto/tls takes even an end without a
// close_notify for an orderly one.
func (s *stream) cut() {
	raw := rawConn(s.Conn)
	if c, ok := raw.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = raw.Close()
}
