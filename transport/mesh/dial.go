package mesh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// The side of a pair that doesn't dial first waits this long for the other,
// and, while a handshake is under way that may be the other's, for this part of
// Config.HandshakeTimeout.
const (
	waitMin  = 50 * time.Millisecond
	waitMax  = 250 * time.Millisecond
	waitPart = 0.4
)

// Connect links this node with n, and returns when messages can be sent. A
// name is resolved at every call and stands for all its addresses: each is
// dialled that isn't linked yet, and this node's own is skipped.
//
// Its error is a [NodeError] with the cause: [ErrProof], [ErrProtocol], a
// [RefusedError], what the network said, [transport.ErrSelf] if n leads back
// here, [transport.ErrPartial] if some of a name's addresses are linked.
func (m *Mesh) Connect(ctx context.Context, n transport.Node) error {
	canonical, err := transport.ParseNode(string(n))
	if err == nil {
		err = m.connect(ctx, canonical)
	}
	if err != nil {
		return &NodeError{Op: "connect", Node: n, Err: err}
	}
	return nil
}

func (m *Mesh) connect(ctx context.Context, n transport.Node) error {
	ctx, cancel := m.within(ctx)
	defer cancel()
	if _, ok := n.IP(); ok {
		return m.connectAddr(ctx, n.Addr(), false)
	}
	addrs, err := resolve(ctx, n)
	if err != nil {
		return err
	}
	errs := make(chan error, len(addrs))
	for _, a := range addrs {
		go func() {
			err := m.connectAddr(ctx, a, true)
			if err == nil {
				m.alias(n.Addr(), a)
			}
			errs <- err
		}()
	}
	var all []error
	for range addrs {
		all = append(all, <-errs)
	}
	return combine(all)
}

// within ties a call's context to the mesh's life.
func (m *Mesh) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

func resolve(ctx context.Context, n transport.Node) ([]string, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.Host())
	if err != nil {
		return nil, fmt.Errorf("mesh: resolving %s: %w", n.Host(), err)
	}
	var addrs []string
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(n.Port())))
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), nil
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
	}
}

// An attempt is a dial that is under way; others that want the same wait for it.
type attempt struct {
	done chan struct{}
	err  error
}

// connectAddr links with whoever is at addr. byName says that the address came
// out of a name, so that the other side may not know that it is to dial first.
func (m *Mesh) connectAddr(ctx context.Context, addr string, byName bool) error {
	if m.reachesSelf(addr) {
		return transport.ErrSelf
	}
	for {
		m.mu.Lock()
		if len(m.find(transport.Node(addr))) > 0 {
			m.mu.Unlock()
			return nil
		}
		a := m.dialling[addr]
		if a == nil {
			a = &attempt{done: make(chan struct{})}
			m.dialling[addr] = a
			m.mu.Unlock()
			a.err = m.dialInTurn(ctx, addr, byName)
			m.mu.Lock()
			delete(m.dialling, addr)
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

func (m *Mesh) dialInTurn(ctx context.Context, addr string, byName bool) error {
	if !byName && !dialsFirst(m.self.node.Addr(), addr) {
		linked, err := m.waitForPeer(ctx, addr)
		if linked || err != nil {
			return err
		}
	}
	return m.dial(ctx, addr, false)
}

// dialsFirst reports which of two advertised addresses dials: both sides come
// to the same answer, and over many pairs each side has half of the work.
func dialsFirst(self, other string) bool {
	a, b := sha256.Sum256([]byte(self+"\x00"+other)), sha256.Sum256([]byte(other+"\x00"+self))
	return bytes.Compare(a[:], b[:]) < 0
}

// waitForPeer gives the other side of a pair the time to dial.
func (m *Mesh) waitForPeer(ctx context.Context, addr string) (linked bool, err error) {
	var ip netip.Addr
	if a, err := netip.ParseAddrPort(addr); err == nil {
		ip = a.Addr()
	}
	pause := time.NewTimer(waitMin + rand.N(waitMax-waitMin))
	defer pause.Stop()
	limit := time.NewTimer(time.Duration(waitPart * float64(m.cfg.HandshakeTimeout)))
	defer limit.Stop()
	for waited := false; ; {
		changed := m.changed.wait()
		m.mu.Lock()
		linked = len(m.find(transport.Node(addr))) > 0
		m.mu.Unlock()
		if linked || waited && !m.waiting.from(ip) {
			return linked, nil
		}
		select {
		case <-changed:
		case <-pause.C:
			waited = true
		case <-limit.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// dial makes a link with whoever is at addr, with each secret in turn, and
// waits until it can be used. Unless again is true, a node that turns out to be
// linked already is left as it is.
func (m *Mesh) dial(ctx context.Context, addr string, again bool) error {
	err := error(nil)
	for i := range max(1, len(m.prover.keys)) {
		if err = m.dialWith(ctx, addr, i, again); !errors.Is(err, ErrProof) {
			return err
		}
	}
	return err
}

func (m *Mesh) dialWith(ctx context.Context, addr string, i int, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HandshakeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	l, h, err := m.dialLink(ctx, conn, i, func(h *hello) *RefusedError {
		if !again && m.linked(h.instance) {
			return &RefusedError{Code: CodeDuplicate, Reason: "linked already"}
		}
		return m.checkHello(ctx, h)
	})
	var refusal *RefusedError
	switch {
	case err == nil:
	case errors.As(err, &refusal) && refusal.Code == CodeDuplicate && !refusal.ByPeer:
		_ = conn.Close()
		m.alias(addr, h.node.Addr())
		return nil
	default:
		_ = conn.Close()
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("mesh: handshake with %s: %w", addr, cause)
		}
		return err
	}
	m.handshakes.Add(1)
	if !m.admit(l, h) {
		m.abandon(l)
		return ErrDown
	}
	return m.waitUp(ctx, l, addr)
}

// linked reports whether a peer is up.
func (m *Mesh) linked(id instanceID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[id]
	return p != nil && p.up
}

// waitUp waits for the side that decides to begin. A link that another one took
// over is as good.
func (m *Mesh) waitUp(ctx context.Context, l *link, addr string) error {
	select {
	case <-l.began:
	case <-l.done:
		if !m.linked(l.peer.hello.instance) {
			return ErrDown
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m.alias(addr, l.peer.hello.node.Addr())
	return nil
}
