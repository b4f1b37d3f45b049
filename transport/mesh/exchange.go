package mesh

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// Peer exchange: a node tells its peers which instances it is linked with, where
// they seem to lack one, and it dials those of whom it is told and whom it lacks.

// exchanges reports whether a peer takes part.
func (p *peer) exchanges() bool { return p.hello.features&featurePeers != 0 }

// learn takes what a peer tells. It is called by the reader of a link.
func (m *Mesh) learn(p *peer, payload []byte) error {
	claims, err := decodeClaims(payload)
	if err != nil || m.cfg.NoPeerExchange {
		return err
	}
	now := time.Now()
	excess := 0
	m.mu.Lock()
	if m.peers[p.hello.instance] == p {
		p.names = p.names || len(claims) == 0   // an empty frame comes after all
		crowd := max(len(m.peers), len(claims)) // how many may all do the same now
		in := m.rumours.informer(p.hello.instance, p.place(), now)
		for _, c := range claims {
			switch {
			case c.id == m.self.instance:
			case c.linked && p.agrees && m.peers[c.id] != nil: // its digest has said so
			case !c.linked:
				m.rumours.withdraw(p.hello.instance, c.id)
			case !m.rumours.claim(in, c.id, c.addrs, crowd, now):
				excess++
			}
		}
	}
	m.mu.Unlock()
	wake(m.hasRumours)
	if excess > 0 {
		if left, ok := m.refusals.due("claims", p.hello.instance.String(), now); ok {
			m.log.Warn("a peer names too many others, leaving some out", "node", p.hello.node, "left_out", excess, "repeated", left)
		}
	}
	return nil
}

// place is where a peer is linked from.
func (p *peer) place() netip.Prefix {
	for _, l := range append([]*link{p.latest}, p.links...) {
		if l == nil {
			continue // none has begun yet
		}
		if a, ok := l.conn.RemoteAddr().(*net.TCPAddr); ok {
			return placeOf(a.AddrPort().Addr().Unmap().WithZone(""))
		}
	}
	return netip.Prefix{}
}

// seek dials whom peers name and whom this node has lost, until the mesh is
// closed.
func (m *Mesh) seek() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m.mu.Lock()
		now := time.Now()
		dials, next := m.rumours.due(now, func(u *rumour) bool {
			return m.peers[u.id] != nil || m.tombstones.has(u.id, now)
		})
		m.mu.Unlock()
		for _, u := range dials {
			m.run(func() { m.dialRumour(u) })
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-m.hasRumours:
		case <-timer.C:
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Mesh) dialRumour(u *rumour) {
	ctx, cancel := context.WithTimeout(m.ctx, 2*m.cfg.HandshakeTimeout)
	defer cancel()
	var err error
	for _, addr := range u.tries {
		if err = m.dialLearned(ctx, transport.Node(addr)); err == nil || ctx.Err() != nil {
			break
		}
	}
	m.mu.Lock()
	p := m.peers[u.id]
	linked := p != nil && p.up
	m.rumours.dialled(u, linked, hopeless(err), time.Now())
	m.mu.Unlock()
	wake(m.hasRumours)
}

// hopeless reports whether it is no use to try again until something changes.
func hopeless(err error) bool {
	refusal, ok := errors.AsType[*RefusedError](err)
	return errors.Is(err, ErrNotAllowed) || errors.Is(err, transport.ErrSelf) ||
		ok && (refusal.Code == CodeUnwanted || refusal.Code == CodeCluster || refusal.Code == CodeProtocol)
}

// dialLearned links with the node at an address that this node didn't ask for.
// Of a name's addresses it takes one, and another the next time: what a peer
// says costs one dial.
func (m *Mesh) dialLearned(ctx context.Context, n transport.Node) error {
	targets, err := m.resolve(ctx, n)
	if err != nil {
		return err
	}
	t := targets[rand.IntN(len(targets))]
	t.learned = true
	if !m.allowed(ctx, t.addr) {
		return ErrNotAllowed
	}
	return m.connectTo(ctx, t)
}

func (m *Mesh) allowed(ctx context.Context, addr string) bool {
	if m.cfg.AllowAddr == nil {
		return true
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	allowed, err := ask(ctx, m, "Config.AllowAddr", func() bool { return m.cfg.AllowAddr(a) })
	return err == nil && allowed
}

// wake leaves a token in a channel that holds one.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
