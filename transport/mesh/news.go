package mesh

import (
	"slices"
	"time"
)

// News: what a node tells its peers of whom it is linked with. When that changes,
// each is told a digest of it; the instances themselves only if the digests say
// that the two aren't linked with the same. And while a node is about to link with
// those that its user wants, it asks for no names by its digest, and gives none. So
// nodes that all want each other tell each other of nobody, however many they are,
// and those who know one seed are told of all at once.

const (
	// News are told soon after a time of quiet, and then in rounds that are
	// further and further apart while more come: when many nodes form a mesh,
	// each has news for all others all the time. So while this node dials, which
	// tells it most of what it would be told, they wait for as long as they may.
	newsPauseMin = 20 * time.Millisecond
	newsPauseMax = time.Second

	// newsBusy is for how long at most a node takes itself for about to link with
	// all whom its user wants.
	newsBusy = 10 * time.Second

	// maxParted is of how many who have gone a peer is told when its link is
	// replaced: of the latest, what said so may have been lost.
	maxParted = 256
)

// A ledger is what a peer is taken to know of this node's links, and what this
// node knows of the peer's.
type ledger struct {
	digest  digest        // the peer's latest
	tells   bool          // one has come
	agrees  bool          // it was this node's when last compared
	differs time.Duration // since when it isn't
	names   bool          // it has named all with whom it is linked, since they last agreed

	sent   digest // this node's, when it was last told
	isSent bool
	upTo   uint64 // who came up until then: was named, or the digests agreed
	named  bool   // so were all, since they last agreed
}

// An errand is what callers of Connect wait for.
type errand struct {
	dials int           // under way
	went  time.Duration // when the first of them began, or the last ended well
	since time.Duration // when it last became busy; negative if it isn't
}

func (e *errand) begin(now time.Duration) {
	if e.dials++; e.dials == 1 {
		e.went = now
	}
}

func (e *errand) end(well bool, now time.Duration) {
	if e.dials--; well {
		e.went = now
	}
}

// busy reports whether it goes on, and looks as if that were soon over.
func (e *errand) busy(now time.Duration) bool {
	switch {
	case e.dials == 0 || now-e.went >= newsPauseMax:
		e.since = -1
		return false
	case e.since < 0:
		e.since = now
	}
	return now-e.since < newsBusy
}

// busy reports whether links are being made that the user wants. The caller holds
// mu.
func (m *Mesh) busy() bool { return m.errand.busy(m.elapsed()) }

// agree compares digests. To agree is to be linked with the same, so there is
// nothing to tell, and what the peer has named needn't be kept. The caller holds
// mu.
func (m *Mesh) agree(p *peer) bool {
	before := p.agrees
	p.agrees = p.tells && p.digest == m.accord.own
	switch {
	case p.agrees:
		p.upTo, p.named, p.names = m.ups, false, false
		if !before {
			m.rumours.retract(p.hello.instance)
		}
	case before:
		p.differs = m.elapsed()
	}
	return p.agrees
}

// lacks reports whether a peer is to be told who came up since upTo. The caller
// holds mu.
func (m *Mesh) lacks(p *peer) bool {
	if !p.compares() {
		return true // it can't show what it lacks
	}
	return !m.agree(p) && p.tells && p.upTo < m.ups // one that hasn't told its digest is busy
}

// announce has the peers told of one that came or went. The caller holds mu.
func (m *Mesh) announce(p *peer, linked bool) {
	m.accord.toggle(p.hello.instance, m.elapsed())
	switch {
	case linked:
		m.ups++
		p.nth = m.ups
		m.gone = p.without(m.gone) // it is back before it was missed
		m.parted = p.without(m.parted)
	case !m.cfg.NoPeerExchange:
		m.gone = append(m.gone, p.claim(false))
		m.parted = append(m.parted, p.claim(false))
		m.parted = m.parted[max(0, len(m.parted)-maxParted):]
	}
	wake(m.hasNews)
}

// without leaves a peer out of claims.
func (p *peer) without(claims []claim) []claim {
	return slices.DeleteFunc(claims, func(c claim) bool { return c.id == p.hello.instance })
}

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
		if m.tellRound() {
			wake(m.hasNews)
		}
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

// news are what all peers are told, as frames' payloads.
type news struct {
	gone   [][]byte
	digest digest
	busy   bool   // so that only who has had a digest is told the latest
	meta   []byte // nil if they haven't changed
}

// tellRound tells the peers what is due. It reports whether another round is to
// follow though nothing changes.
func (m *Mesh) tellRound() (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := news{gone: encodeClaims(m.gone), digest: m.accord.own, busy: m.busy()}
	if m.metaDue {
		n.meta = appendMeta(nil, m.meta)
	}
	m.gone, m.metaDue = nil, false
	for _, p := range m.peers {
		if p.active == nil {
			continue // a link that begins tells
		}
		lacks := m.lacks(p)
		again = again || n.busy && (lacks || p.compares() && !p.isSent)
		if lacks && !n.busy && !m.tellLinks(p) || !p.hear(n) {
			m.dropDeaf(p)
		}
	}
	return again
}

// dropDeaf takes a peer down that can't be reading. The caller holds mu.
func (m *Mesh) dropDeaf(p *peer) { m.drop(p, ReasonSilent, CodeSilent, "you read nothing") }

// hear tells a peer what it understands. It reports false if the peer can't be
// reading.
func (p *peer) hear(n news) bool {
	ok := !p.exchanges() || p.orderAll(n.gone)
	if p.isSent || !n.busy {
		ok = ok && p.tellDigest(n.digest)
	}
	if n.meta != nil && p.takesMeta() {
		ok = ok && p.active.out.order(frameMeta, n.meta)
	}
	return ok
}

// tellDigest tells a peer a digest, unless it has been told.
func (p *peer) tellDigest(own digest) bool {
	if !p.compares() || p.isSent && p.sent == own {
		return true
	}
	p.sent, p.isSent = own, true
	return p.active.out.order(frameDigest, own[:])
}

// tellLinks tells a peer of those who have come up since it was last told. It
// reports false if the peer can't be reading. The caller holds mu.
func (m *Mesh) tellLinks(p *peer) bool {
	if !p.exchanges() || m.cfg.NoPeerExchange {
		p.upTo = m.ups
		return true
	}
	var others []claim
	for _, other := range m.peers {
		if other != p && other.up && other.nth > p.upTo {
			others = append(others, other.claim(true))
		}
	}
	all, whole := encodeClaims(others), p.upTo == 0 && p.compares()
	if whole {
		all = append(all, nil) // which says that these are all
	}
	p.upTo, p.named = m.ups, p.named || whole
	return p.orderAll(all)
}

// orderAll queues peers frames. It reports false if the peer can't be reading.
func (p *peer) orderAll(frames [][]byte) bool {
	for _, frame := range frames {
		if !p.active.out.order(framePeers, frame) {
			return false
		}
	}
	return true
}

// digestReceived takes a peer's digest. It is called by the reader of a link.
func (m *Mesh) digestReceived(p *peer, d digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := !p.tells
	if !first && p.digest == d {
		return
	}
	now := m.elapsed()
	if p.digest, p.tells = d, true; first {
		p.differs = now
	}
	m.accord.moves(now)
	switch {
	case p.active == nil || !m.lacks(p):
	case first && !m.busy(): // a newcomer waits for it
		if !m.tellLinks(p) {
			m.dropDeaf(p)
		}
	default:
		wake(m.hasNews)
	}
}

// remind names all to a peer that hasn't been linked with the same for a
// heartbeat, since they last agreed and so told each other of nobody: one of the
// two has lost somebody, or can't reach somebody. The caller holds mu.
func (m *Mesh) remind(now time.Duration) {
	for _, p := range m.peers {
		if p.active == nil || !p.tells || p.named || m.agree(p) || now-p.differs < m.cfg.Heartbeat {
			continue
		}
		if p.upTo = 0; !m.tellLinks(p) {
			m.dropDeaf(p)
		}
	}
}
