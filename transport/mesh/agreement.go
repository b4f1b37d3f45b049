package mesh

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// Agreement: each node tells its peers a digest of the instances that it is
// linked with. Where all digests are the same, all see the same. It goes with the
// news of who came and went, when it changes: TCP loses nothing, so there is no
// need to say it again with every ping, and an idle mesh says nothing.

// maxApart is how many pairs are named.
const maxApart = 64

// A digest is the exclusive or of a set of instances. These are random, so that
// two sets have the same by chance in one of 2^128 cases. A member can bring it
// about, by instances that it makes up and links with whom it likes: then some seem
// to agree, and name nobody to each other.
type digest [16]byte

// toggle puts an instance into the set, or takes it out.
func (d *digest) toggle(id instanceID) {
	for i := range d {
		d[i] ^= id[i]
	}
}

// An accord is how far this node and its peers agree. It is pure data, told what
// happens and when; its owner's lock guards it.
type accord struct {
	heartbeat, grace time.Duration
	own              digest

	moved   time.Duration // when a digest has last changed, or differed
	agreed  bool          // none has for a heartbeat
	differs bool          // at the last look
	since   time.Duration // that it does

	compared time.Duration // when the pairs were last looked at, while it differs
	seen     gaps          // at that look
	apart    []transport.Pair
	told     *Diverged // the latest, unless it is over
}

// gaps are pairs of instances that aren't linked, and by what names they go.
type gaps map[[2]instanceID]transport.Pair

// toggle notes that an instance is linked here, or isn't any more.
func (a *accord) toggle(id instanceID, now time.Duration) {
	a.own.toggle(id)
	a.moves(now)
}

// moves notes that a digest has changed.
func (a *accord) moves(now time.Duration) { a.moved, a.agreed = now, false }

// look notes whether digests differ. It reports whether it has come to agree.
func (a *accord) look(now time.Duration, differs bool) (agreed bool) {
	if !differs {
		a.differs = false
		if a.agreed || now-a.moved < a.heartbeat {
			return false
		}
		a.agreed = true
		a.seen, a.apart = nil, nil
		return true
	}
	if !a.differs {
		a.since, a.compared = now, now
	}
	a.differs = true
	a.moves(now)
	return false
}

// due reports whether it is time to look which pairs are apart: now and then,
// since it is dear, and not while it may be over in a moment.
func (a *accord) due(now time.Duration) bool { return a.differs && now-a.compared >= a.heartbeat }

// compare takes which pairs are apart; those that already were at the last look
// count. It returns what is to be told, if anything is.
func (a *accord) compare(now time.Duration, seen gaps, differ []transport.Node) *Diverged {
	var apart []transport.Pair
	for ids, pair := range seen {
		if _, before := a.seen[ids]; before {
			apart = append(apart, pair)
		}
	}
	slices.SortFunc(apart, func(x, y transport.Pair) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	a.compared, a.seen, a.apart = now, seen, apart
	switch {
	case a.told == nil && (a.grace < 0 || now-a.since < a.grace):
		return nil
	case a.told != nil && slices.Equal(a.told.Apart, apart) && slices.Equal(a.told.Differ, differ):
		return nil
	}
	a.told = &Diverged{Apart: apart, Differ: differ}
	return a.told
}

// compares reports whether a peer and this node send each other digests.
func (p *peer) compares() bool { return p.hello.features&p.m.self.features&featureDigest != 0 }

// Agreement implements [transport.Agreer]: Agreed after a heartbeat, and Diverged
// as the latest [Diverged] has it. Before that, pairs are named once they have
// been apart for a heartbeat.
func (m *Mesh) Agreement() transport.Agreement {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.accord.told; e != nil {
		return transport.Agreement{Diverged: true, Apart: slices.Clone(e.Apart), Differ: slices.Clone(e.Differ)}
	}
	return transport.Agreement{Agreed: m.accord.agreed, Apart: slices.Clone(m.accord.apart), Differ: m.dissenters()}
}

// lookAround compares the digests, and tells what has become of it. Those who
// agree are not looked at until something changes. The caller holds mu.
func (m *Mesh) lookAround(now time.Duration) {
	a := &m.accord
	if a.agreed {
		return
	}
	before, differ := a.told, m.dissenters()
	if a.look(now, len(differ) > 0) {
		if a.told = nil; before != nil {
			m.log.Info("the nodes agree again about who is linked with whom")
			m.events.Publish(func() { m.toldDiverged = nil }, Converged{})
		}
		m.notifyAll()
		return
	}
	m.remind(now)
	if !a.due(now) {
		return
	}
	e := a.compare(now, m.gaps(), differ)
	if e == nil {
		return
	}
	if before == nil {
		m.log.Warn("the nodes don't agree about who is linked with whom", "apart", e.Apart, "differ", e.Differ)
	}
	m.events.Publish(func() { m.toldDiverged = e }, *e)
	m.notifyAll()
}

// dissenters are the peers whose digest isn't this node's. The caller holds mu.
func (m *Mesh) dissenters() (nodes []transport.Node) {
	for _, p := range m.peers {
		if p.up && p.compares() && (!p.tells || p.digest != m.accord.own) {
			nodes = append(nodes, p.hello.node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// gaps are some of the pairs that aren't linked: of this node and its peers, with
// each other and with those that peers name. The caller holds mu.
func (m *Mesh) gaps() gaps {
	names := m.rumours.named()
	for id, p := range m.peers {
		if p.up {
			names[id] = p.hello.node
		}
	}
	self := m.self.instance
	found := gaps{}
	miss := func(viewer instanceID, name transport.Node, id instanceID) {
		pair, ids := transport.Pair{name, names[id]}, [2]instanceID{viewer, id}
		if id.less(viewer) {
			ids = [2]instanceID{id, viewer}
		}
		if pair[1] < pair[0] {
			pair[0], pair[1] = pair[1], pair[0]
		}
		if len(found) < maxApart {
			found[ids] = pair
		}
	}
	all := slices.SortedFunc(maps.Keys(names), instanceID.compare)
	for _, id := range all {
		p := m.peers[id]
		if p == nil || !p.up {
			miss(self, m.self.node, id)
			continue
		}
		if len(found) >= maxApart {
			break
		}
		if m.cfg.NoPeerExchange || !p.exchanges() || p.compares() && !p.names || m.rumours.claims(id) >= len(names)-1 {
			continue // whom it hasn't named, it may be linked with all the same
		}
		for _, other := range all {
			if other != id && !m.rumours.claimed(id, other) {
				miss(id, p.hello.node, other)
			}
		}
	}
	return found
}

func (id instanceID) compare(other instanceID) int { return bytes.Compare(id[:], other[:]) }

// named are the instances that peers claim, each by one of its addresses.
func (r *rumours) named() map[instanceID]transport.Node {
	names := map[instanceID]transport.Node{}
	for _, u := range r.all {
		name := transport.Node(u.addrs[0])
		if known, ok := names[u.id]; len(u.informers) > 0 && (!ok || name < known) {
			names[u.id] = name
		}
	}
	return names
}

// claims is how many instances an informer claims.
func (r *rumours) claims(from instanceID) int {
	if in := r.informers[from]; in != nil {
		return len(in.of)
	}
	return 0
}

// claimed reports whether an informer claims an instance.
func (r *rumours) claimed(from, id instanceID) bool {
	in := r.informers[from]
	return in != nil && len(in.of[id]) > 0
}
