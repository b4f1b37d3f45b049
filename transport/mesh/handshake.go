package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"
)

// conflictPing is how long the node that has an address may take to show that
// it lives, before a newcomer at that address takes its place.
const conflictPing = time.Second

// tlsConfig is the same for every handshake. Verification of certificates is
// off on purpose: the proof over the exported key, which no relay has, comes in
// its place.
func (m *Mesh) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{m.cert},
		InsecureSkipVerify:     true, //nolint:gosec // see above
		SessionTicketsDisabled: true,
	}
}

// secure does the TLS handshake as either side, unless the mesh is insecure,
// and returns the connection with the key that its proofs are bound to.
func (m *Mesh) secure(ctx context.Context, conn net.Conn, as func(net.Conn, *tls.Config) *tls.Conn) (net.Conn, []byte, error) {
	if m.cfg.Insecure {
		return conn, nil, nil
	}
	tc := as(conn, m.tlsConfig())
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w: TLS: %w", ErrProtocol, err)
	}
	state := tc.ConnectionState()
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != alpn {
		return nil, nil, fmt.Errorf("%w: TLS version %s with protocol %q, want 1.3 with %q",
			ErrProtocol, tls.VersionName(state.Version), state.NegotiatedProtocol, alpn)
	}
	ekm, err := exportKey(state, kindLink)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: TLS exporter: %w", ErrProtocol, err)
	}
	return tc, ekm, nil
}

// bound makes the reads and writes of a handshake end with ctx. The returned
// func lifts that again, and reports whether ctx was in time.
func bound(ctx context.Context, conn net.Conn) (lift func() bool) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() bool { return stop() && conn.SetDeadline(time.Time{}) == nil }
}

// acceptLink is the acceptor's side: nothing but a fixed refusal is said before
// the dialler's proof.
func (m *Mesh) acceptLink(ctx context.Context, g *guest) (*link, *hello, error) {
	lift := bound(ctx, g.conn)
	defer lift()
	tune(g.conn)
	conn, ekm, err := m.secure(ctx, g.conn, tls.Server)
	if err != nil {
		return nil, nil, err
	}
	answer, err := m.checkProof(conn, ekm)
	if err != nil {
		return nil, nil, err
	}
	if err := writeFrame(conn, frameAnswer, answer, m.self.encode()); err != nil {
		return nil, nil, err
	}
	id, h, err := m.readHello(conn)
	if err != nil {
		return nil, nil, err
	}
	if refusal := m.checkHello(ctx, h); refusal != nil {
		_ = writeFrame(conn, frameRefuse, encodeReason(refusal.Code, refusal.Reason))
		return nil, nil, refusal
	}
	l, err := m.newLink(conn, id, false)
	if err != nil {
		return nil, nil, err
	}
	if err = writeFrame(conn, frameWelcome); err == nil && !lift() {
		err = context.Cause(ctx)
	}
	if err != nil {
		m.abandon(l)
		return nil, nil, err
	}
	return l, h, nil
}

// checkProof reads the dialler's proof and returns what answers it.
func (m *Mesh) checkProof(conn net.Conn, ekm []byte) ([]byte, error) {
	t, payload, err := readFrame(conn, 1+proofSize)
	if err != nil {
		return nil, err
	}
	if t != frameProof || len(payload) != 1+proofSize || kind(payload[0]) != kindLink {
		_ = writeFrame(conn, frameRefuse, encodeReason(CodeNone, ""))
		return nil, fmt.Errorf("%w: type %d with %d bytes where a proof was due", errMalformed, t, len(payload))
	}
	if m.cfg.Insecure {
		return make([]byte, proofSize), nil
	}
	answer, ok := m.prover.accept(kindLink, ekm, payload[1:])
	if !ok {
		_ = writeFrame(conn, frameRefuse, encodeReason(CodeNone, ""))
		return nil, ErrProof
	}
	return answer, nil
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

// dialLink is the dialler's side, with the i-th secret. wanted sees the
// acceptor's hello before it learns of this node's, and may refuse it.
func (m *Mesh) dialLink(ctx context.Context, raw net.Conn, i int, wanted func(*hello) *RefusedError) (*link, *hello, error) {
	lift := bound(ctx, raw)
	defer lift()
	tune(raw)
	conn, ekm, err := m.secure(ctx, raw, tls.Client)
	if err != nil {
		return nil, nil, err
	}
	sent := make([]byte, proofSize)
	if !m.cfg.Insecure {
		sent = m.prover.dial(i, kindLink, ekm)
	}
	if err := writeFrame(conn, frameProof, []byte{byte(kindLink)}, sent); err != nil {
		return nil, nil, err
	}
	h, err := m.readAnswer(conn, i, ekm, sent)
	if err != nil {
		return nil, nil, err
	}
	if refusal := wanted(h); refusal != nil {
		_ = writeFrame(conn, frameRefuse, encodeReason(refusal.Code, refusal.Reason))
		return nil, h, refusal
	}
	var id linkID
	_, _ = rand.Read(id[:])
	l, err := m.newLink(conn, id, true)
	if err != nil {
		return nil, nil, err
	}
	if err = m.greet(conn, id); err == nil && !lift() {
		err = context.Cause(ctx)
	}
	if err != nil {
		m.abandon(l)
		return nil, nil, err
	}
	return l, h, nil
}

// greet sends the dialler's hello and reads what the acceptor says to it.
func (m *Mesh) greet(conn net.Conn, id linkID) error {
	if err := writeFrame(conn, frameHello, id[:], m.self.encode()); err != nil {
		return err
	}
	t, payload, err := readFrame(conn, maxRefuse)
	switch {
	case err != nil:
		return err
	case t == frameRefuse:
		return peerRefused(payload)
	case t != frameWelcome:
		return fmt.Errorf("%w: type %d where a welcome was due", errMalformed, t)
	}
	return nil
}

// readAnswer reads the acceptor's proof and hello.
func (m *Mesh) readAnswer(conn net.Conn, i int, ekm, sent []byte) (*hello, error) {
	t, payload, err := readFrame(conn, proofSize+maxHello)
	switch {
	case err != nil:
		return nil, err
	case t == frameRefuse:
		return nil, ErrProof
	case t != frameAnswer || len(payload) < proofSize:
		return nil, fmt.Errorf("%w: type %d with %d bytes where a proof was due", errMalformed, t, len(payload))
	case !m.cfg.Insecure && !m.prover.confirm(i, kindLink, ekm, sent, payload[:proofSize]):
		return nil, ErrProof
	}
	return decodeHello(payload[proofSize:])
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

// checkHello decides whether to link with a node that has proved itself.
func (m *Mesh) checkHello(ctx context.Context, h *hello) *RefusedError {
	refuse := func(c Code, format string, args ...any) *RefusedError {
		return &RefusedError{Code: c, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case h.instance == m.self.instance:
		return refuse(CodeSelf, "that is this node itself")
	case h.max < m.self.min || h.min > m.self.max:
		return refuse(CodeProtocol, "%s speaks protocol versions %d to %d, %s %d to %d",
			h.node, h.min, h.max, m.self.node, m.self.min, m.self.max)
	case h.cluster != m.self.cluster:
		return refuse(CodeCluster, "%s is of cluster %q, %s of %q", h.node, h.cluster, m.self.node, m.self.cluster)
	}
	for _, a := range h.addrs {
		if slices.Contains(m.self.addrs, a) {
			return m.conflict(h, a, m.self)
		}
		if other := m.livingAt(ctx, a, h.instance); other != nil {
			return m.conflict(h, a, other)
		}
	}
	return nil
}

func (m *Mesh) conflict(newcomer *hello, addr string, holder *hello) *RefusedError {
	reason := fmt.Sprintf("%s (instance %s) advertises %s, which %s (instance %s) has and answers at; give each node an address of its own (CLUSTER_ADVERTISE)",
		newcomer.node, newcomer.instance, addr, holder.node, holder.instance)
	return &RefusedError{Code: CodeAddressConflict, Reason: reason}
}

// livingAt returns the hello of another instance that has the address and
// answers a ping. One that doesn't is taken down, to make room.
func (m *Mesh) livingAt(ctx context.Context, addr string, newcomer instanceID) *hello {
	m.mu.Lock()
	p := m.byAddr[addr]
	if p == nil || p.hello.instance == newcomer {
		m.mu.Unlock()
		return nil
	}
	l := p.active
	m.mu.Unlock()
	if l == nil || l.answers(ctx) {
		return p.hello
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers[p.hello.instance] == p {
		m.drop(p, ReasonReplaced, CodeAddressConflict, "another instance has taken the address "+addr)
	}
	return nil
}

// answers pings the other end once.
func (l *link) answers(ctx context.Context) bool {
	pong := l.pongs.Wait()
	l.out.urge(framePing, l.m.now())
	late := time.NewTimer(conflictPing)
	defer late.Stop()
	select {
	case <-pong:
		return true
	case <-l.done:
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}
