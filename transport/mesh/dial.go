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

// The side of a pair that doesn't dial first waits for the other 50 to 250 ms.
// It counts these in short ticks, which come late on a machine that is busy: so
// it waits longer while everybody is slow. While a handshake is under way that
// may be the other's it waits on, for at most this part of
// Config.HandshakeTimeout in all.
const (
	waitTick     = 10 * time.Millisecond
	waitTicksMin = 5
	waitTicksMax = 25
	waitPart     = 0.4
)

// Connect links this node with n, and returns when messages can be sent. A
// name is resolved at every call and stands for all its addresses: each is
// dialled that isn't linked yet, and this node's own is skipped.
//
// Its error is a [NodeError] with the cause: [ErrClosed], [ErrProof], [ErrProtocol], a
// [RefusedError], what the network said, [transport.ErrSelf] if n leads back
// here, [transport.ErrPartial] if some of a name's addresses are linked.
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
	ctx, cancel := m.within(ctx)
	defer cancel()
	if _, ok := n.IP(); ok {
		return m.connectAddr(ctx, n.Addr(), false)
	}
	addrs, err := m.resolve(ctx, n)
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

// resolve returns the addresses that a name stands for now.
func (m *Mesh) resolve(ctx context.Context, n transport.Node) ([]string, error) {
	ips, err := m.cfg.Resolver.LookupNetIP(ctx, "ip", n.Host())
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

// errOvertaken says that the other side has come first.
var errOvertaken = errors.New("mesh: the other side dials")

func (m *Mesh) dialInTurn(ctx context.Context, addr string, byName bool) error {
	waits := !byName && !dialsFirst(m.self.node.Addr(), addr)
	until := time.Now().Add(time.Duration(waitPart * float64(m.cfg.HandshakeTimeout)))
	for {
		if waits {
			linked, err := m.waitForPeer(ctx, addr, until)
			if linked || err != nil {
				return err
			}
		}
		err := m.dial(ctx, addr, func(took time.Duration) bool {
			return m.coming(addr, false) || waits && m.comesWithin(ctx, addr, min(2*took, time.Until(until)))
		})
		if !errors.Is(err, errOvertaken) {
			return err
		}
		waits = true
	}
}

// comesWithin watches for the other side once more, now that this side has
// connected: where that took long, so does everything.
func (m *Mesh) comesWithin(ctx context.Context, addr string, d time.Duration) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		changed := m.changed.Wait()
		if m.coming(addr, true) {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// coming reports whether there is a peer at that address, up or about to be, or
// a guest from there who may be it, if these count.
func (m *Mesh) coming(addr string, guests bool) bool {
	if guests { // looked at first: a guest leaves when it is a peer
		if a, err := netip.ParseAddrPort(addr); err == nil && m.waiting.from(a.Addr()) {
			return true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byAddr[addr] != nil
}

// dialsFirst reports which of two advertised addresses dials: both sides come
// to the same answer, and over many pairs each side has half of the work.
func dialsFirst(self, other string) bool {
	a, b := sha256.Sum256([]byte(self+"\x00"+other)), sha256.Sum256([]byte(other+"\x00"+self))
	return bytes.Compare(a[:], b[:]) < 0
}

// waitForPeer gives the other side of a pair the time to dial.
func (m *Mesh) waitForPeer(ctx context.Context, addr string, until time.Time) (linked bool, err error) {
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	for ticks := waitTicksMin + rand.IntN(waitTicksMax-waitTicksMin+1); ; {
		changed := m.changed.Wait()
		coming := m.coming(addr, time.Now().Before(until))
		m.mu.Lock()
		linked = len(m.find(transport.Node(addr))) > 0
		m.mu.Unlock()
		if linked || ticks <= 0 && !coming {
			return linked, nil
		}
		select {
		case <-changed:
		case <-tick.C:
			ticks--
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// dial makes a link with whoever is at addr, with each secret in turn, and
// waits until it can be used. A node that turns out to be linked already is left
// as it is. overtaken is asked once the connection is there and before the
// costly part: if it says so, the error is errOvertaken. A nil one makes a link
// in any case.
func (m *Mesh) dial(ctx context.Context, addr string, overtaken func(took time.Duration) bool) error {
	err := error(nil)
	for i := range max(1, len(m.prover.keys)) {
		if err = m.dialWith(ctx, addr, i, overtaken); !errors.Is(err, ErrProof) {
			return err
		}
	}
	return err
}

func (m *Mesh) dialWith(ctx context.Context, addr string, i int, overtaken func(took time.Duration) bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HandshakeTimeout)
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if overtaken != nil && overtaken(time.Since(began)) {
		_ = conn.Close()
		return errOvertaken
	}
	l, h, err := m.dialLink(ctx, conn, i, func(h *hello) *RefusedError {
		if overtaken != nil && m.known(h.instance) {
			return &RefusedError{Code: CodeDuplicate, Reason: "linked already"}
		}
		return m.checkHello(ctx, h)
	})
	var refusal *RefusedError
	switch {
	case err == nil:
	case errors.As(err, &refusal) && refusal.Code == CodeDuplicate && !refusal.ByPeer:
		_ = conn.Close()
		return m.waitPeer(ctx, h.instance, addr)
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

// known reports whether there is a link with a peer, up or about to be.
func (m *Mesh) known(id instanceID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers[id] != nil
}

// linked reports whether a peer is up.
func (m *Mesh) linked(id instanceID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[id]
	return p != nil && p.up
}

// waitPeer waits until a peer that was dialled at addr is up by whichever link.
func (m *Mesh) waitPeer(ctx context.Context, id instanceID, addr string) error {
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
			m.alias(addr, p.hello.node.Addr())
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
func (m *Mesh) waitUp(ctx context.Context, l *link, addr string) error {
	select {
	case <-l.began:
	case <-l.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return m.waitPeer(ctx, l.peer.hello.instance, addr)
}
