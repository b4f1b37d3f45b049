package mesh

import (
	"fmt"
	"slices"
	"time"
)

// A pair may have several links for a while, when both dialled. The side with
// the smaller instance decides: it begins each link as it comes, and so counts
// their turns; the other side follows, in the same order. Beginning a link
// means to say so on it, naming the link before, and to send the last frame on
// that one. Each side delivers what comes on a link after all that came on the
// link before. So the newest link is left, and no message is out of order.

// begin makes l the link that this node sends on. The caller holds mu.
func (m *Mesh) begin(p *peer, l *link, turn uint64) {
	var before linkID
	if p.active != nil {
		before = p.active.id
		p.active.out.retire()
		p.active.sentLast = true
		m.hangUp(p.active)
	}
	l.out.order(frameBegin, encodeBegin(before, turn))
	l.turn = turn
	p.active, p.latest = l, l
	m.tellOfSelf(p, l)
	l.state.Ring()
	if !p.up {
		p.up, p.since = true, time.Now()
		for _, a := range p.hello.addrs {
			delete(m.departed, a)
			m.ring(a)
		}
		m.rumours.linked(p.hello.instance, p.hello.addrs)
		m.announce(p, true)
		m.tell(p, PeerUp{Peer: p.snapshot()})
		m.log.Debug("peer up", "node", p.hello.node, "dialled", l.dialled)
	}
	m.linksChanged()
}

// beginReceived takes the peer's word that its messages follow on l, after
// those of the link before; l's reader waits for these here. It need not watch
// l's own end: the link that all wait for ends by itself, when its reader gets
// nothing for too long or the peer goes down, and the others after it.
func (m *Mesh) beginReceived(l *link, before linkID, turn uint64) error {
	first, err := m.predecessor(l, before)
	if err != nil {
		return err
	}
	if first != nil {
		m.waitReceived(first)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.follows = nil
	p := l.peer
	switch {
	case l.ended.Load():
		return nil
	case !m.decides(p) && l.turn == 0:
		if p.active != nil && turn <= p.active.turn {
			m.end(l) // the other side has gone on to the one that is active
			return nil
		}
		m.begin(p, l, turn)
	}
	if before != (linkID{}) {
		return nil
	}
	for _, o := range slices.Clone(p.links) {
		if o.turn != 0 && o.turn < l.turn {
			m.end(o) // the other side has lost it
		}
	}
	return nil
}

// predecessor finds the link whose messages come before those of l, if any are
// still to come, and makes l follow it.
func (m *Mesh) predecessor(l *link, before linkID) (*link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.links[before]
	if first == nil || first.peer != nil && first.peer != l.peer {
		return nil, nil
	}
	for o := first; o != nil; o = o.follows {
		if o == l {
			return nil, fmt.Errorf("%w: begin: link %x comes before itself", errMalformed, l.id[:])
		}
	}
	l.follows = first
	return first, nil
}

func (m *Mesh) lastReceived(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.gotLast = true
	m.closeReceived(l)
	m.hangUp(l)
}

// closeReceived is called by l's reader, or in its place when there is none:
// nothing will be delivered from l any more. The caller holds mu.
func (m *Mesh) closeReceived(l *link) {
	if m.links[l.id] == l {
		delete(m.links, l.id)
		l.state.Ring()
	}
}

// waitReceived returns once nothing will be delivered from l any more.
func (m *Mesh) waitReceived(l *link) {
	for {
		changed := l.state.Wait()
		m.mu.Lock()
		gone := m.links[l.id] != l
		m.mu.Unlock()
		if gone {
			return
		}
		<-changed
	}
}

// hangUp ends a link on which both sides have sent their last frame. The caller
// holds mu.
func (m *Mesh) hangUp(l *link) {
	if l.sentLast && l.gotLast {
		l.out.hangUp()
	}
}
