package mesh

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// A Peer is a node with which a link is up, as it was at one moment.
type Peer struct {
	// Node is the peer's own name for itself: the first address that it
	// advertises, with its name before the @ if it has one.
	Node transport.Node
	// Addrs are all the addresses that it advertises.
	Addrs []string
	// Instance is new at each of the peer's starts: 32 hexadecimal digits.
	Instance string
	// Meta is the peer's Config.Meta, or what it has given to SetMeta since.
	Meta map[string]string
	// RTT is the time that the latest ping took. A link is pinged when it has been
	// silent for Config.Heartbeat; before that, it is what an answer took in the
	// handshake.
	RTT time.Duration
	// Since is when the peer came up.
	Since time.Time
	// RemoteAddr is the other end of the connection.
	RemoteAddr string
	// Dialled is true if this node made the connection.
	Dialled bool
}

// A Reason says why a peer went down.
type Reason string

// The reasons.
const (
	// ReasonLeft: the peer closed its mesh.
	ReasonLeft Reason = "left"
	// ReasonLost: the connection broke.
	ReasonLost Reason = "lost"
	// ReasonSilent: nothing was heard for Config.DownAfter.
	ReasonSilent Reason = "silent"
	// ReasonUnwanted: this node or the peer called Disconnect.
	ReasonUnwanted Reason = "unwanted"
	// ReasonReplaced: another instance has taken the peer's address.
	ReasonReplaced Reason = "replaced"
	// ReasonClosed: this mesh was closed.
	ReasonClosed Reason = "closed"
	// ReasonSecret: after SetSecrets, the peer didn't prove a secret in time.
	ReasonSecret Reason = "secret"
)

// An Event is one of [Snapshot], [PeerUp], [PeerChanged], [PeerDown], [Diverged],
// [Converged] and [Lagged]. All readers get the same one, so what it holds must
// not be changed.
type Event interface{ event() }

type (
	// Snapshot tells the peers that are up: the first event, and the one after
	// Lagged. Diverged is the last such event if no Converged has come since,
	// else nil.
	Snapshot struct {
		Peers    []Peer
		Diverged *Diverged
	}
	// PeerUp tells that messages can be sent to a peer.
	PeerUp struct{ Peer Peer }
	// PeerChanged tells that a peer has called SetMeta.
	PeerChanged struct{ Peer Peer }
	// PeerDown tells that they can't any more.
	PeerDown struct {
		Peer   Peer
		Reason Reason
	}
	// Diverged tells that this node and its peers have disagreed for
	// Config.DivergedAfter about who is linked with whom. It comes again when
	// what it names has changed, but not twice in a heartbeat.
	Diverged struct {
		// Apart are the pairs that aren't linked, as far as peers tell by peer
		// exchange, in order: at most 64, each of which has been apart for a
		// heartbeat at least. A node that isn't linked here goes by its address.
		Apart []transport.Pair
		// Differ are the peers that are linked with others than this node is,
		// in order.
		Differ []transport.Node
	}
	// Converged tells that what Diverged has told is over: all have agreed for a
	// heartbeat.
	Converged struct{}
	// Lagged tells that the reader was too slow and missed N events.
	Lagged struct{ N int }
)

func (Snapshot) event()    {}
func (PeerUp) event()      {}
func (PeerChanged) event() {}
func (PeerDown) event()    {}
func (Diverged) event()    {}
func (Converged) event()   {}
func (Lagged) event()      {}

// A peer is one instance of another node, and lives while a link with it does.
// The mesh's mu guards it.
type peer struct {
	m     *Mesh
	hello *hello
	meta  map[string]string // that of hello, or what has come since
	in    *inbox
	calls calls

	ledger
	nth uint64 // among all who came up

	links  []*link // proved, not ended; the newest last
	active *link   // the one that this node sends on; nil before the first begin
	latest *link   // the last active one, for what is told of it
	up     bool
	since  time.Time
}

func comparePeers(a, b Peer) int { return cmp.Compare(a.Node, b.Node) }

// decides reports whether this node says which link of the pair is used: the
// smaller instance does, so that both ends always agree.
func (m *Mesh) decides(p *peer) bool { return m.self.instance.less(p.hello.instance) }

// snapshot is p for the user.
func (p *peer) snapshot() Peer {
	info := Peer{
		Node:     p.hello.node,
		Addrs:    slices.Clone(p.hello.addrs),
		Instance: p.hello.instance.String(),
		Meta:     cloneMeta(p.meta),
		Since:    p.since,
	}
	if l := p.latest; l != nil {
		info.RTT = time.Duration(l.rtt.Load())
		info.RemoteAddr = l.conn.RemoteAddr().String()
		info.Dialled = l.dialled
	}
	return info
}

func cloneMeta(meta map[string]string) map[string]string {
	if len(meta) == 0 {
		return nil
	}
	return maps.Clone(meta)
}

// maxPairLinks is how many links a pair may have, of which all but one are about
// to end: far more than two nodes that dial each other come to.
const maxPairLinks = 16

// admit takes a link that both sides have proved, unless something came between
// since the handshake's own checks.
func (m *Mesh) admit(l *link, h *hello) *RefusedError {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || l.ended.Load() {
		return refuse(CodeLeft, "%s leaves", m.self.node)
	}
	if err := m.checkAgain(l, h); err != nil {
		return err
	}
	p := m.peers[h.instance]
	if p == nil {
		p = &peer{m: m, hello: h, meta: h.meta}
		p.in = m.inboxOf(p)
		m.peers[h.instance] = p
		for _, a := range h.addrs {
			m.byAddr[a] = p
		}
	}
	l.peer, l.batch.peer = p, p
	p.links = append(p.links, l)
	m.progress.Store(int64(m.elapsed()))
	m.tombstones.dropOthers(h.instance, h.addrs)
	m.endStreams(func(other *hello) bool { return other.instance != h.instance && sharesAddr(other, h) })
	if !l.dialled {
		l.out.urge(frameWelcome, nil)
	}
	m.checkKey(l, time.Now()) // the secrets may have changed during the handshake
	if m.decides(p) {
		m.begins++
		m.begin(p, l, m.begins)
	}
	m.run(l.read)
	return nil
}

// checkAgain looks at what may have changed during a handshake. The caller holds
// mu.
func (m *Mesh) checkAgain(l *link, h *hello) *RefusedError {
	for _, a := range h.addrs {
		if other := m.byAddr[a]; other != nil && other.hello.instance != h.instance {
			return conflict(h, a, other.hello)
		}
	}
	p := m.peers[h.instance]
	switch {
	case p != nil && !p.hello.sameNode(h):
		return refuse(CodeAddressConflict, "%s says that it is instance %s, which is %s", h.node, h.instance, p.hello.node)
	case p != nil && len(p.links) >= maxPairLinks:
		return refuse(CodeDuplicate, "%d links with %s exist", len(p.links), h.node)
	case l.unasked && m.tombstones.has(h.instance, time.Now()):
		return refuse(CodeUnwanted, "%s has disconnected %s", m.self.node, h.node)
	}
	return m.checkRoom(h)
}

// turnAway closes a link that wasn't admitted, and says why.
func (m *Mesh) turnAway(l *link, why *RefusedError) {
	_ = l.conn.SetDeadline(time.Now().Add(partTimeout))
	t := frameClose
	if !l.dialled {
		t = frameRefuse // it waits for its welcome
	}
	_ = writeFrame(l.conn, t, encodeReason(why.Code, why.Reason))
	m.abandon(l)
}

func sharesAddr(a, b *hello) bool {
	return slices.ContainsFunc(a.addrs, func(addr string) bool { return slices.Contains(b.addrs, addr) })
}

// end forgets a link and closes its connection, which ends its reader or its
// handshake soon. The caller holds mu.
func (m *Mesh) end(l *link) {
	if l.ended.Swap(true) {
		return
	}
	l.out.fail()
	l.state.Ring()
	l.pongs.Ring()
	_ = l.conn.SetDeadline(time.Unix(1, 0))
	m.run(func() { _ = l.conn.Close() }) // may block for a moment, to say so
	if p := l.peer; p != nil {
		if l.turn != 0 && (!l.sentLast || !l.gotLast) {
			p.calls.fail(ErrDown, false) // requests or their replies may have been on it
		}
		p.links = slices.DeleteFunc(p.links, func(o *link) bool { return o == l })
		if p.active == l {
			p.active = nil
		}
	}
	m.linksChanged()
}

// ended is called by the reader of a link that can't be read any further.
func (m *Mesh) ended(l *link, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := l.peer
	if l.sentLast && l.gotLast && !errors.Is(why, io.EOF) {
		l.sentLast = false // what was queued before it may not have come through
	}
	m.end(l)
	m.closeReceived(l)
	if m.peers[p.hello.instance] != p {
		return
	}
	reason, code := reasonOf(why)
	if code != CodeNone || !slices.ContainsFunc(p.links, func(o *link) bool { return !o.sentLast }) {
		m.drop(p, reason, code, "")
	}
}

// drop takes a peer down: its links are told the code and closed. The caller
// holds mu.
func (m *Mesh) drop(p *peer, reason Reason, code Code, sentence string) {
	delete(m.peers, p.hello.instance)
	for _, a := range p.hello.addrs {
		if m.byAddr[a] == p {
			delete(m.byAddr, a)
			m.ring(a)
		}
	}
	for alias, instances := range m.aliases {
		if delete(instances, p.hello.instance); len(instances) == 0 {
			delete(m.aliases, alias)
		}
	}
	if reason != ReasonLost && reason != ReasonSilent {
		m.endStreams(func(h *hello) bool { return h.instance == p.hello.instance })
	}
	if reason == ReasonClosed {
		p.calls.fail(ErrClosed, true)
	} else {
		p.calls.fail(ErrDown, true)
	}
	info := p.snapshot()
	for _, l := range p.links {
		l.deaf.Store(reason != ReasonLeft)
		l.out.close(code, sentence)
		l.expire()
	}
	m.rumours.silence(p.hello.instance)
	m.leaveOver(p, reason)
	if p.up {
		p.up = false
		m.remember(p, reason)
		m.announce(p, false)
		m.tell(p, PeerDown{Peer: info, Reason: reason})
		m.log.Debug("peer down", "node", p.hello.node, "reason", string(reason))
	}
	m.linksChanged()
}

// ring wakes who waits for a peer at an address. The caller holds mu.
func (m *Mesh) ring(addr string) {
	if a := m.dialling[addr]; a != nil {
		a.changed.Ring()
	}
}

const maxDeparted = 4096

// remember keeps who left for Departed, and dials those again who didn't.
func (m *Mesh) remember(p *peer, reason Reason) {
	now := time.Now()
	switch reason {
	case ReasonLost, ReasonSilent:
		if m.cfg.ForgetAfter > 0 {
			m.rumours.lose(p.hello.instance, p.hello.addrs, now.Add(m.cfg.ForgetAfter), now)
			wake(m.hasRumours)
		}
		return
	case ReasonReplaced, ReasonClosed, ReasonSecret:
		return
	case ReasonLeft, ReasonUnwanted:
	}
	for _, a := range p.hello.addrs {
		if len(m.departed) >= maxDeparted {
			clear(m.departed)
		}
		m.departed[a] = true
	}
}

// tell publishes an event and wakes who watches ListNodes. The caller holds mu,
// which keeps the events in order; nothing here waits.
func (m *Mesh) tell(p *peer, e Event) {
	m.events.Publish(func() {
		if up, ok := e.(PeerUp); ok {
			m.told[p.hello.instance] = up.Peer
		} else {
			delete(m.told, p.hello.instance)
		}
	}, e)
	m.notifyAll()
}

// notifyAll leaves a token with everybody who has called Notify. The caller
// holds mu.
func (m *Mesh) notifyAll() {
	for ch := range m.notify {
		wake(ch)
	}
}
