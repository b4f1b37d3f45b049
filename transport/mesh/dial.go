package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

// Connect links this node with n, and returns when messages can be sent. A
// name is resolved at every call and stands for all its addresses: each is
// dialled that isn't linked yet, and this node's own is skipped.
//
// Its error is a [NodeError] with the cause: [ErrClosed], [ErrProof], [ErrProtocol],
// [ErrHandshakeTime], [ErrHungUp], a [RefusedError], what the network said,
// [transport.ErrSelf] if n leads back here, [transport.ErrPartial] if some of a
// name's addresses are linked.
func (m *Mesh) Connect(ctx context.Context, n transport.Node) error {
	canonical, err := transport.ParseNode(string(n))
	if err == nil {
		err = m.connect(ctx, canonical)
	}
	if err != nil && m.ctx.Err() != nil {
		err = ErrClosed
	}
	if err != nil {
		return &NodeError{Op: "connect", Node: n, Err: err}
	}
	return nil
}

func (m *Mesh) connect(ctx context.Context, n transport.Node) error {
	ctx, done, err := m.within(ctx)
	if err != nil {
		return err
	}
	defer done()
	m.wanted(n)
	targets, err := m.resolve(ctx, n)
	if err != nil {
		return err
	}
	for _, t := range targets {
		m.wanted(transport.Node(t.addr))
	}
	if _, ok := n.IP(); ok {
		return m.connectTo(ctx, targets[0])
	}
	errs := make(chan error, len(targets))
	for _, t := range targets {
		go func() {
			err := m.connectTo(ctx, t)
			if err == nil {
				m.alias(n.Addr(), t.addr)
			}
			errs <- err
		}()
	}
	var all []error
	for range targets {
		all = append(all, <-errs)
	}
	return combine(all)
}

// wanted notes that the caller of Connect wants a node: what this mesh has
// against it ends, and the caller is the one who dials it again if it is lost.
func (m *Mesh) wanted(n transport.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tombstones.dropAddr(n.Addr())
	m.rumours.wanted(n.Addr(), time.Now())
}

// A target is one address to dial.
type target struct {
	addr    string
	host    string // the name that the address came from; empty if none
	learned bool   // from a peer or a loss, and not from the caller of Connect
}

// verifyHost is what the certificate at the address has to be for.
func (t target) verifyHost() string {
	if t.host != "" {
		return t.host
	}
	return transport.Node(t.addr).Host()
}

// within ties a call that may begin connections to the mesh's life: Close ends it
// and waits for it.
func (m *Mesh) within(ctx context.Context) (_ context.Context, done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, ErrClosed
	}
	m.goroutine.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		m.goroutine.Done()
	}, nil
}

// resolve returns the addresses that a node stands for now: its own, or those
// of its name.
func (m *Mesh) resolve(ctx context.Context, n transport.Node) ([]target, error) {
	if _, ok := n.IP(); ok {
		return []target{{addr: n.Addr()}}, nil
	}
	type answer struct {
		ips []netip.Addr
		err error
	}
	found, err := ask(ctx, m, "Config.Resolver", func() (a answer) {
		a.ips, a.err = m.cfg.Resolver.LookupNetIP(ctx, "ip", n.Host())
		return a
	})
	if err = cmp.Or(err, found.err); err != nil {
		return nil, fmt.Errorf("mesh: resolving %s: %w", n.Host(), err)
	}
	var targets []target
	for _, ip := range found.ips {
		t := target{addr: net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(n.Port())), host: n.Host()}
		if !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("mesh: resolving %s: the answer has no address", n.Host())
	}
	return targets, nil
}

// combine makes one error of those of a name's addresses.
func combine(errs []error) error {
	var failed []error
	linked, self := 0, 0
	for _, err := range errs {
		switch {
		case err == nil:
			linked++
		case errors.Is(err, transport.ErrSelf):
			self++
		default:
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) > 0 && linked > 0:
		return fmt.Errorf("%w: %w", transport.ErrPartial, errors.Join(failed...))
	case len(failed) > 0:
		return errors.Join(failed...)
	case linked == 0 && self > 0:
		return transport.ErrSelf
	default:
		return nil
	}
}

// alias notes that what is linked at addr also goes by another address.
func (m *Mesh) alias(as, addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.find(transport.Node(addr)) {
		if p.hello.node.Addr() == as {
			continue
		}
		if m.aliases[as] == nil {
			m.aliases[as] = map[instanceID]bool{}
		}
		m.aliases[as][p.hello.instance] = true
		m.routes.Store(nil)
	}
}

// An attempt is a dial that is under way; others that want the same wait for it.
type attempt struct {
	done    chan struct{}
	err     error
	changed signal.Signal // rung when a peer at the address came up or went
}

// connectTo links with whoever is at an address.
func (m *Mesh) connectTo(ctx context.Context, t target) error {
	if m.reachesSelf(t.addr) {
		return transport.ErrSelf
	}
	for {
		m.mu.Lock()
		if found := m.find(transport.Node(t.addr)); len(found) > 0 {
			l := found[0].active
			m.mu.Unlock()
			if t.host != "" && !m.certifies(l, t.host) { // as whoever dials it finds
				return refuse(CodeTLS, "the certificate of %s isn't good for %q", t.addr, t.host)
			}
			return nil
		}
		a := m.dialling[t.addr]
		if a == nil {
			a = &attempt{done: make(chan struct{})}
			m.dialling[t.addr] = a
			if !t.learned {
				m.errand.begin(m.elapsed())
			}
			m.mu.Unlock()
			a.err = m.dialInTurn(ctx, t, a)
			m.mu.Lock()
			delete(m.dialling, t.addr)
			if !t.learned {
				m.errand.end(a.err == nil, m.elapsed())
			}
			m.mu.Unlock()
			close(a.done)
			return a.err
		}
		m.mu.Unlock()
		select {
		case <-a.done:
			if a.err != nil && !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, context.DeadlineExceeded) {
				return a.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dial makes a link with whoever is at an address, with each secret in turn, and
// waits until it can be used. A node that turns out to be linked already is left
// as it is. overtaken is asked once the connection is there and before the
// costly part: if it says so, the error is errOvertaken. A nil one makes a link
// in any case.
func (m *Mesh) dial(ctx context.Context, t target, overtaken func(took time.Duration) bool) error {
	end, err := m.awaitPlace(ctx, overtaken)
	if err != nil {
		return err
	}
	defer end()
	return m.eachSecret(func(key []byte) error { return m.dialWith(ctx, t, key, overtaken) })
}

// awaitPlace waits until a dial may begin. The other side may come first here, too.
func (m *Mesh) awaitPlace(ctx context.Context, overtaken func(took time.Duration) bool) (end func(), err error) {
	m.working(1)
	defer m.working(-1)
	end, waited, err := m.pace.begin(ctx)
	if err == nil && waited && overtaken != nil && overtaken(0) {
		end()
		err = errOvertaken
	}
	return end, err
}

// eachSecret tries the secrets in turn, until one isn't refused.
func (m *Mesh) eachSecret(try func(key []byte) error) error {
	keys := m.prover.Load().keys
	if len(keys) == 0 {
		keys = [][]byte{nil}
	}
	var err error
	for _, key := range keys {
		if err = try(key); !errors.Is(err, ErrProof) {
			return err
		}
	}
	return err
}

func (m *Mesh) dialWith(ctx context.Context, t target, key []byte, overtaken func(took time.Duration) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.cfg.HandshakeTimeout, ErrHandshakeTime)
	defer cancel()
	began := time.Now()
	conn, err := m.network.dial(ctx, t.addr)
	if err != nil {
		return err
	}
	if overtaken != nil && overtaken(time.Since(began)) {
		_ = conn.Close()
		return errOvertaken
	}
	m.working(1)
	defer m.working(-1)
	l, h, err := m.dialLink(ctx, conn, t.verifyHost(), key, func(h *hello) error {
		if known := m.knownAs(h.instance); overtaken != nil && known != nil && known.sameNode(h) {
			return refuse(CodeDuplicate, "linked already")
		}
		return m.checkHost(ctx, t, h)
	})
	if err != nil {
		_ = conn.Close()
		if refusal, ok := errors.AsType[*RefusedError](err); ok && refusal.Code == CodeDuplicate && !refusal.ByPeer {
			return m.waitPeer(ctx, h.instance, t)
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("mesh: handshake with %s: %w", t.addr, cause)
		}
		if hungUp(err) {
			err = fmt.Errorf("%w: %w", ErrHungUp, err)
		}
		return err
	}
	m.counts.handshakes.Add(1)
	l.unasked = t.learned
	if refusal := m.admit(l, h); refusal != nil {
		m.turnAway(l, refusal)
		return refusal
	}
	return m.waitUp(ctx, l, t)
}

// working counts the dials that wait for their place, and the handshakes.
func (m *Mesh) working(n int32) {
	if m.proving.Add(n) == 0 {
		m.lull.Ring()
	}
}

// checkHost is the dialler's judgement of the node that it has reached.
func (m *Mesh) checkHost(ctx context.Context, t target, h *hello) error {
	if err := m.checkHello(ctx, h); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !t.learned {
		m.tombstones.drop(h.instance)
	} else if m.tombstones.has(h.instance, time.Now()) {
		return refuse(CodeUnwanted, "%s has disconnected %s", m.self.node, h.node)
	}
	return orNil(m.checkRoom(h))
}

// knownAs returns the hello of a peer, up or about to be; nil if there is none.
func (m *Mesh) knownAs(id instanceID) *hello {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[id]; p != nil {
		return p.hello
	}
	return nil
}

// linked reports whether a peer is up.
func (m *Mesh) linked(id instanceID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[id]
	return p != nil && p.up
}

// waitPeer waits until a peer that was dialled at addr is up by whichever link.
func (m *Mesh) waitPeer(ctx context.Context, id instanceID, t target) error {
	for {
		changed := m.changed.Wait()
		m.mu.Lock()
		p := m.peers[id]
		up := p != nil && p.up
		m.mu.Unlock()
		switch {
		case p == nil:
			return ErrDown
		case up:
			if !t.learned {
				m.alias(t.addr, p.hello.node.Addr())
			}
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// waitUp waits for the side that decides to begin. A link that another one took
// over is as good.
func (m *Mesh) waitUp(ctx context.Context, l *link, t target) error {
	for {
		changed := l.state.Wait()
		m.mu.Lock()
		begun := l.turn != 0 || l.ended.Load()
		m.mu.Unlock()
		if begun {
			return m.waitPeer(ctx, l.peer.hello.instance, t)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
