package mesh

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// conflictPing is how long the node that has an address may take to show that
// it lives, before a newcomer at that address takes its place.
const conflictPing = time.Second

// A session is a connection of which the other end has yet to say who it is.
type session struct {
	conn  net.Conn
	state tls.ConnectionState // zero in an insecure mesh
	kind  kind                // what it is for
	ekm   []byte              // what its proofs are bound to; nil in an insecure mesh
	key   []byte              // of the secret that was proved; nil without secrets
	rtt   time.Duration       // how long the other side took to answer
}

// is notes what the connection is for, which its proofs are bound to as well.
func (m *Mesh) is(s *session, k kind) (err error) {
	s.kind = k
	if !m.cfg.Insecure {
		if s.ekm, err = exportKey(s.state, k); err != nil {
			return fmt.Errorf("%w: TLS exporter: %w", ErrProtocol, err)
		}
	}
	return nil
}

// secure does the TLS handshake as either side, unless the mesh is insecure.
func (m *Mesh) secure(ctx context.Context, conn net.Conn, c *tls.Config, as func(net.Conn, *tls.Config) *tls.Conn) (*session, error) {
	if m.cfg.Insecure {
		return &session{conn: conn}, nil
	}
	tc := as(newExactConn(conn, &m.buffers), c)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, handshakeError(err)
	}
	s := &session{conn: tc, state: tc.ConnectionState()}
	if s.state.Version != tls.VersionTLS13 || s.state.NegotiatedProtocol != alpn {
		return nil, fmt.Errorf("%w: TLS version %s with protocol %q, want 1.3 with %q",
			ErrProtocol, tls.VersionName(s.state.Version), s.state.NegotiatedProtocol, alpn)
	}
	if m.cfg.TLS != nil && len(s.state.PeerCertificates) == 0 {
		return nil, refuse(CodeTLS, "the peer showed no certificate")
	}
	return s, nil
}

// handshakeError tells a connection that broke from one that speaks something
// else.
func handshakeError(err error) error {
	if hungUp(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("mesh: the connection ended during the TLS handshake: %w", err)
	}
	return fmt.Errorf("%w: TLS: %w", ErrProtocol, err)
}

// hungUp reports whether an error is the connection's end, and not what was said on
// it.
func hungUp(err error) bool {
	broke, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || ok && broke.Op != "remote error"
}

// proves reports whether links need a proof of a secret.
func (m *Mesh) proves() bool { return len(m.cfg.Secrets) > 0 }

// bound makes the reads and writes of a handshake end with ctx. The returned
// func lifts that again, and reports whether ctx was in time.
func bound(ctx context.Context, conn net.Conn) (lift func() bool) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() bool { return stop() && conn.SetDeadline(time.Time{}) == nil }
}

// greetGuest is the acceptor's side until both have proved themselves: nothing
// but a fixed refusal is said before the dialler's proof.
func (m *Mesh) greetGuest(ctx context.Context, g *guest) (*session, error) {
	tune(g.conn)
	s, err := m.secure(ctx, g.conn, m.tls, tls.Server)
	if err != nil {
		return nil, m.tlsRefusal(err)
	}
	if err := m.answerProof(s); err != nil {
		return nil, err
	}
	m.waiting.proved(g)
	return s, nil
}

// acceptLink takes a link whose dialler has proved itself. That it is welcome, admit
// says, together with what follows.
func (m *Mesh) acceptLink(ctx context.Context, s *session, lift func() bool) (*link, *hello, error) {
	asked := time.Now()
	id, h, err := m.readHello(s.conn)
	if err != nil {
		return nil, nil, err
	}
	s.rtt = time.Since(asked)
	if err := m.checkGuest(ctx, s, h); err != nil {
		s.refuse(err)
		return nil, nil, err
	}
	l, err := m.newLink(s, id, false)
	if err != nil {
		return nil, nil, err
	}
	if !lift() {
		m.abandon(l)
		return nil, nil, context.Cause(ctx)
	}
	return l, h, nil
}

// refuse tells the other side, if it is a refusal that it may know of.
func (s *session) refuse(err error) {
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		_ = writeFrame(s.conn, frameRefuse, encodeReason(refusal.Code, refusal.Reason))
	}
}

// welcome ends the handshake, and the bound on its time.
func (s *session) welcome(ctx context.Context, lift func() bool) error {
	err := writeFrame(s.conn, frameWelcome)
	if err == nil && !lift() {
		err = context.Cause(ctx)
	}
	return err
}

// answerProof reads the dialler's proof, and answers it with the acceptor's own
// and its hello.
func (m *Mesh) answerProof(s *session) error {
	t, payload, err := readFrame(s.conn, 1+proofSize)
	if err != nil {
		return m.tlsRefusal(err)
	}
	if t != frameProof || len(payload) != 1+proofSize || !kind(payload[0]).known() {
		_ = writeFrame(s.conn, frameRefuse, encodeReason(CodeNone, ""))
		return fmt.Errorf("%w: type %d with %d bytes where a proof was due", errMalformed, t, len(payload))
	}
	if err := m.is(s, kind(payload[0])); err != nil {
		return err
	}
	answer := make([]byte, proofSize)
	if m.proves() {
		if answer, s.key = m.prover.Load().accept(s.kind, s.ekm, payload[1:]); s.key == nil {
			_ = writeFrame(s.conn, frameRefuse, encodeReason(CodeNone, ""))
			return ErrProof
		}
	}
	return writeFrame(s.conn, frameAnswer, answer, m.hello())
}

// readHello reads the dialler's hello, or its refusal.
func (m *Mesh) readHello(conn net.Conn) (id linkID, h *hello, err error) {
	t, payload, err := readFrame(conn, maxHello)
	switch {
	case err != nil:
		return id, nil, err
	case t == frameRefuse:
		return id, nil, peerRefused(payload)
	case t != frameHello || len(payload) < len(id):
		return id, nil, fmt.Errorf("%w: type %d with %d bytes where a hello was due", errMalformed, t, len(payload))
	}
	id = linkID(payload)
	if id == (linkID{}) {
		return id, nil, fmt.Errorf("%w: hello: the link has no ID", errMalformed)
	}
	h, err = decodeHello(payload[len(id):])
	return id, h, err
}

// meetHost is the dialler's side until both have proved themselves, with the key
// of one of its secrets. wanted sees the acceptor's hello before it learns more
// of this node, and may refuse it.
func (m *Mesh) meetHost(ctx context.Context, raw net.Conn, k kind, host string, key []byte, wanted func(*hello) error) (*session, *hello, error) {
	tune(raw)
	s, err := m.secure(ctx, raw, m.clientTLS(host), tls.Client)
	if err == nil {
		err = m.is(s, k)
	}
	if err != nil {
		return nil, nil, m.tlsRefusal(err)
	}
	h, err := m.prove(s, key)
	if err != nil {
		return nil, nil, m.tlsRefusal(err)
	}
	if err = m.checkPeer(ctx, s, h); err == nil {
		err = wanted(h)
	}
	if err != nil {
		s.refuse(err)
		return nil, h, err
	}
	return s, h, nil
}

// dialLink makes a link over a connection.
func (m *Mesh) dialLink(ctx context.Context, raw net.Conn, host string, key []byte, wanted func(*hello) error) (*link, *hello, error) {
	lift := bound(ctx, raw)
	defer lift()
	s, h, err := m.meetHost(ctx, raw, kindLink, host, key, wanted)
	if err != nil {
		return nil, h, err
	}
	var id linkID
	_, _ = rand.Read(id[:])
	l, err := m.newLink(s, id, true)
	if err != nil {
		return nil, nil, err
	}
	if err = writeFrame(s.conn, frameHello, id[:], m.hello()); err == nil {
		err = s.awaitWelcome(ctx, lift)
	}
	if err != nil {
		m.abandon(l)
		return nil, nil, err
	}
	return l, h, nil
}

// prove sends the dialler's proof, and reads the acceptor's and its hello.
func (m *Mesh) prove(s *session, key []byte) (*hello, error) {
	sent := make([]byte, proofSize)
	if m.proves() {
		sent = proof(key, 'D', s.kind, s.ekm, nil)
	}
	// An acceptor that refused the certificate has said why before it closed.
	asked := time.Now()
	writeErr := writeFrame(s.conn, frameProof, []byte{byte(s.kind)}, sent)
	t, payload, err := readFrame(s.conn, proofSize+maxHello)
	s.rtt = time.Since(asked)
	switch {
	case err != nil:
		return nil, cmp.Or(err, writeErr)
	case t == frameRefuse:
		return nil, ErrProof
	case t != frameAnswer || len(payload) < proofSize:
		return nil, fmt.Errorf("%w: type %d with %d bytes where a proof was due", errMalformed, t, len(payload))
	case m.proves() && !hmac.Equal(proof(key, 'A', s.kind, s.ekm, sent), payload[:proofSize]):
		return nil, ErrProof
	}
	s.key = key
	return decodeHello(payload[proofSize:])
}

// awaitWelcome reads what the acceptor says in the end, and ends the bound on
// the handshake's time.
func (s *session) awaitWelcome(ctx context.Context, lift func() bool) error {
	t, payload, err := readFrame(s.conn, maxRefuse)
	switch {
	case err != nil:
		return err
	case t == frameRefuse:
		return peerRefused(payload)
	case t != frameWelcome:
		return fmt.Errorf("%w: type %d where a welcome was due", errMalformed, t)
	case !lift():
		return context.Cause(ctx)
	}
	return nil
}

func peerRefused(payload []byte) error {
	code, reason, err := decodeReason(payload)
	if err != nil {
		return err
	}
	return &RefusedError{Code: code, Reason: reason, ByPeer: true}
}

func writeFrame(conn net.Conn, t frameType, payload ...[]byte) error {
	_, err := conn.Write(appendFrame(nil, t, payload...))
	return err
}

// checkGuest is the acceptor's judgement of a node that has proved itself.
func (m *Mesh) checkGuest(ctx context.Context, s *session, h *hello) error {
	if err := m.checkPeer(ctx, s, h); err != nil { // first: the hello may cost another its place
		return err
	}
	if err := m.checkHello(ctx, h); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tombstones.has(h.instance, time.Now()) {
		return refuse(CodeUnwanted, "%s has disconnected %s", m.self.node, h.node)
	}
	return orNil(m.checkRoom(h))
}

// orNil keeps no refusal from being an error that isn't nil.
func orNil(r *RefusedError) error {
	if r == nil {
		return nil
	}
	return r
}

// checkRoom refuses a peer that is one too many. The caller holds mu.
func (m *Mesh) checkRoom(h *hello) *RefusedError {
	if m.peers[h.instance] == nil && len(m.peers) >= m.cfg.MaxPeers {
		return refuse(CodeFull, "%s has %d peers, as many as Config.MaxPeers allows", m.self.node, len(m.peers))
	}
	return nil
}

// checkHello decides whether to link with a node that has proved itself.
func (m *Mesh) checkHello(ctx context.Context, h *hello) error {
	switch {
	case h.instance == m.self.instance:
		return refuse(CodeSelf, "that is this node itself")
	case h.max < m.self.min || h.min > m.self.max:
		return refuse(CodeProtocol, "%s speaks protocol versions %d to %d, %s %d to %d",
			h.node, h.min, h.max, m.self.node, m.self.min, m.self.max)
	case h.cluster != m.self.cluster:
		return refuse(CodeCluster, "%s is of cluster %q, %s of %q", h.node, h.cluster, m.self.node, m.self.cluster)
	}
	if known := m.knownAs(h.instance); known != nil && !known.sameNode(h) {
		return refuse(CodeAddressConflict, "%s says that it is instance %s, which is %s", h.node, h.instance, known.node)
	}
	for _, a := range h.addrs {
		if slices.Contains(m.self.addrs, a) {
			return conflict(h, a, m.self)
		}
		switch other, err := m.livingAt(ctx, a, h.instance); {
		case err != nil:
			return err
		case other != nil:
			return conflict(h, a, other)
		}
	}
	return nil
}

func conflict(newcomer *hello, addr string, holder *hello) *RefusedError {
	return refuse(CodeAddressConflict,
		"%s (instance %s) advertises %s, which %s (instance %s) has and answers at; give each node an address of its own (CLUSTER_ADVERTISE)",
		newcomer.node, newcomer.instance, addr, holder.node, holder.instance)
}

// livingAt returns the hello of another instance that has the address and
// answers a ping. One that doesn't is taken down, to make room. Who has no time
// to wait for the answer isn't told, and takes nobody down.
func (m *Mesh) livingAt(ctx context.Context, addr string, newcomer instanceID) (*hello, error) {
	m.mu.Lock()
	p := m.byAddr[addr]
	if p == nil || p.hello.instance == newcomer {
		m.mu.Unlock()
		return nil, nil
	}
	l := p.active
	m.mu.Unlock()
	if l == nil {
		return p.hello, nil
	}
	alive, err := l.answers(ctx)
	if alive || err != nil {
		return p.hello, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers[p.hello.instance] == p {
		m.drop(p, ReasonReplaced, CodeAddressConflict, "another instance has taken the address "+addr)
	}
	return nil, nil
}

// answers pings the other end once.
func (l *link) answers(ctx context.Context) (bool, error) {
	pong := l.pongs.Wait()
	l.out.urge(framePing, l.m.now())
	late := time.NewTimer(conflictPing)
	defer late.Stop()
	select {
	case <-pong: // or the link has ended
		return !l.ended.Load(), nil
	case <-late.C:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	return false, nil
}
