package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// Peer exchange: a node tells its peers which instances it is linked with, all
// of them when a link begins and then what changes; and it dials those of whom
// it is told and whom it lacks.

const (
	// News are told soon after a time of quiet, and then in batches that are
	// further and further apart while more come: when many nodes form a mesh,
	// each has news for all others all the time. So while this node dials, which
	// tells it most of what it would be told, they wait for as long as they may.
	newsPauseMin = 20 * time.Millisecond
	newsPauseMax = time.Second

	maxClaimsFrame = 16 << 10
)

// A claim is one entry of a peers frame: the sender is linked with an instance,
// or isn't any more.
type claim struct {
	linked bool
	id     instanceID
	addrs  []string
}

func (p *peer) claim(linked bool) claim {
	c := claim{linked: linked, id: p.hello.instance}
	if linked {
		c.addrs = p.hello.addrs
	}
	return c
}

// announce has the peers told of one that came or went. The caller holds mu.
func (m *Mesh) announce(p *peer, linked bool) {
	m.accord.own.toggle(p.hello.instance)
	m.accord.moves(m.elapsed())
	if !m.cfg.NoPeerExchange {
		m.news = append(m.news, p.claim(linked))
	}
	wake(m.hasNews)
}

// tellAll tells a peer of all others, on a link that begins. The caller holds
// mu.
func (m *Mesh) tellAll(p *peer, l *link) {
	if !p.exchanges() || m.cfg.NoPeerExchange {
		return
	}
	var all []claim
	for _, other := range m.peers {
		if other != p && other.up {
			all = append(all, other.claim(true))
		}
	}
	for _, frame := range encodeClaims(all) {
		l.out.order(framePeers, frame)
	}
}

// exchanges reports whether a peer takes part.
func (p *peer) exchanges() bool { return p.hello.features&featurePeers != 0 }

// tellNews runs until the mesh is closed.
func (m *Mesh) tellNews() {
	for pause := newsPauseMin; ; {
		quiet := time.NewTimer(2 * pause)
		select {
		case <-m.hasNews:
			quiet.Stop()
		case <-quiet.C:
			pause = newsPauseMin
			select {
			case <-m.hasNews:
			case <-m.ctx.Done():
				return
			}
		case <-m.ctx.Done():
			quiet.Stop()
			return
		}
		if !m.collectNews(pause) {
			return
		}
		m.tellNow()
		pause = min(2*pause, newsPauseMax)
	}
}

// collectNews waits for at least pause. It returns false if the mesh is closed
// meanwhile.
func (m *Mesh) collectNews(pause time.Duration) bool {
	enough, most := time.NewTimer(pause), time.NewTimer(newsPauseMax)
	defer enough.Stop()
	defer most.Stop()
	for waited := false; ; {
		lull := m.lull.Wait()
		if waited && m.proving.Load() == 0 {
			return true
		}
		select {
		case <-enough.C:
			waited = true
		case <-lull:
		case <-most.C:
			return true
		case <-m.ctx.Done():
			return false
		}
	}
}

func (m *Mesh) tellNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := news{claims: encodeClaims(m.news), digest: m.accord.own}
	if m.metaDue {
		n.meta = appendMeta(nil, m.meta)
	}
	m.news, m.metaDue = nil, false
	for _, p := range m.peers {
		if p.active != nil && !p.hear(n) { // a link that begins tells all
			m.drop(p, ReasonSilent, CodeSilent, "you read nothing")
		}
	}
}

// news are what all peers are told, as frames' payloads.
type news struct {
	claims [][]byte
	digest digest
	meta   []byte // nil if they haven't changed
}

// hear tells a peer what it understands. It reports false if the peer can't be
// reading.
func (p *peer) hear(n news) bool {
	ok := true
	if p.exchanges() {
		for _, claims := range n.claims {
			ok = ok && p.active.out.order(framePeers, claims)
		}
	}
	if p.compares() {
		ok = ok && p.active.out.order(frameDigest, n.digest[:])
	}
	if n.meta != nil && p.takesMeta() {
		ok = ok && p.active.out.order(frameMeta, n.meta)
	}
	return ok
}

// learn takes what a peer tells. It is called by the reader of a link.
func (m *Mesh) learn(p *peer, payload []byte) error {
	claims, err := decodeClaims(payload)
	if err != nil || len(claims) == 0 || m.cfg.NoPeerExchange {
		return err
	}
	now := time.Now()
	excess := 0
	m.mu.Lock()
	if m.peers[p.hello.instance] == p {
		crowd := max(len(m.peers), len(claims)) // how many may all do the same now
		in := m.rumours.informer(p.hello.instance, p.place(), now)
		for _, c := range claims {
			switch {
			case c.id == m.self.instance:
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

// encodeClaims lays claims out in as many payloads as they need. An entry is its
// length, a byte that is 1 for a link and 0 for the end of one, the instance and
// the addresses; what a newer version appends to an entry is skipped. What its
// readers would refuse is left out: whom this node is linked with may have said
// anything of itself, which is no reason to lose those who are told of it.
func encodeClaims(claims []claim) (frames [][]byte) {
	var b, entry []byte
	for _, c := range claims {
		entry = append(entry[:0], 0)
		if c.linked {
			entry[0] = 1
		}
		entry = append(entry, c.id[:]...)
		entry = appendStrings(entry, c.addrs[:min(len(c.addrs), maxAddrs)])
		if 2+len(entry) > maxClaimsFrame {
			continue
		}
		if len(b) > 0 && len(b)+2+len(entry) > maxClaimsFrame {
			frames = append(frames, b)
			b = nil
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(entry)))
		b = append(b, entry...)
	}
	if len(b) > 0 {
		frames = append(frames, b)
	}
	return frames
}

func decodeClaims(payload []byte) ([]claim, error) {
	var claims []claim
	for d := (decoder{what: "peers", rest: payload}); len(d.rest) > 0; {
		e := decoder{what: "peers", rest: d.block()}
		var c claim
		c.linked = e.bytes(1)[0] == 1
		copy(c.id[:], e.bytes(len(c.id)))
		addrs := e.strings(maxAddrs)
		if d.err != nil || e.err != nil {
			return nil, errors.Join(d.err, e.err)
		}
		for _, a := range addrs {
			a, err := canonicalAddr(a)
			if err != nil {
				return nil, malformed("peers", err)
			}
			if !slices.Contains(c.addrs, a) {
				c.addrs = append(c.addrs, a)
			}
		}
		if c.linked && len(c.addrs) == 0 {
			return nil, malformed("peers", errors.New("an instance without an address"))
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// canonicalAddr returns the address to dial of a node. While a mesh forms, each
// node is told of each other by all, in canonical form already: that is seen
// without parsing it as a node.
func canonicalAddr(s string) (string, error) {
	if isCanonicalIP(s) {
		return s, nil
	}
	n, err := transport.ParseNode(s)
	return n.Addr(), err
}

// isCanonicalIP reports whether s is a unicast IP address and a port as
// [transport.ParseNode] would write them.
func isCanonicalIP(s string) bool {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().Is4In6() || a.Addr().Zone() != "" {
		return false
	}
	if !a.Addr().IsGlobalUnicast() && !a.Addr().IsLoopback() {
		return false
	}
	var text [len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")]byte
	return string(a.AppendTo(text[:0])) == s
}

// wake leaves a token in a channel that holds one.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
