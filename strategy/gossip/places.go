package gossip

import (
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
)

// An origin is where a packet came from.
type origin struct {
	ipv6  bool
	local bool // from this machine
}

func (o origin) family() int {
	if o.ipv6 {
		return 1
	}
	return 0
}

// A place is a node's name, and who is there.
type place struct {
	owner  instance // the one that was last heard alive there
	heard  time.Time
	queued bool // to be told
	told   bool // to the roster
}

// A departure is a farewell that was heard.
type departure struct {
	at    time.Time // when it counts
	id    instance
	nodes [2]cluster.Node
}

// locate notes by which of its nodes a sender is reached.
func (s *state) locate(now time.Time, p *sender, from origin, nodes []cluster.Node) {
	n := pick(nodes, from)
	if was := p.nodes[from.family()]; was != n {
		p.nodes[from.family()] = n
		s.vacate(was, p)
	}
	if n == "" || s.self[n.Addr()] {
		return
	}
	at := s.places[n]
	if at == nil {
		at = &place{}
		s.places[n] = at
	}
	if s.missed(now, at.heard) { // it may have been given up
		at.told = false
	}
	if !at.told && !at.queued && s.passed.admits(n) { // else it is the next time that it is heard
		at.queued = true
		s.enqueue(n)
	}
	at.owner, at.heard = p.id, now
}

// enqueue has a node told, once its turn comes.
func (s *state) enqueue(n cluster.Node) {
	if len(s.untold) >= 4*maxProven { // many are gone: there are at most two places a sender
		s.untold = slices.DeleteFunc(s.untold, func(n cluster.Node) bool { return !s.isQueued(n) })
	}
	s.untold = append(s.untold, n)
}

func (s *state) isQueued(n cluster.Node) bool { return s.places[n] != nil && s.places[n].queued }

// vacate drops the place n if p was the last one there, and no longer goes by it.
func (s *state) vacate(n cluster.Node, p *sender) {
	if at := s.places[n]; at != nil && at.owner == p.id && p.nodes[0] != n && p.nodes[1] != n {
		delete(s.places, n)
	}
}

// forget drops all that is known of a sender that isn't in the table any more.
func (s *state) forget(p *sender) {
	nodes := p.nodes
	p.nodes = [2]cluster.Node{}
	for _, n := range nodes {
		s.vacate(n, p)
	}
}

// depart takes a farewell, which counts only from a sender that is proven:
// anybody may have recorded another's.
func (s *state) depart(now time.Time, p *sender) {
	if !p.proven {
		s.unproven.remove(p.id)
		return
	}
	if len(s.departures) < maxLeaving {
		p.left, p.heard = true, now
		s.keep(p)
		s.departures = append(s.departures, departure{now.Add(leaveGrace), p.id, p.nodes})
	}
}

// departed returns the nodes whose farewells count now: of those that were the
// last ones heard there, and the only ones. Two Runs of a node, of two
// topologies say, are heard by turns.
func (s *state) departed(now time.Time) (gone []cluster.Node) {
	for len(s.departures) > 0 && !now.Before(s.departures[0].at) {
		d := s.departures[0]
		s.departures = s.departures[1:]
		for _, n := range d.nodes {
			at := s.places[n]
			if at == nil || at.owner != d.id {
				continue
			}
			heir := s.heir(now, n)
			switch {
			case heir == nil:
				delete(s.places, n)
				gone = append(gone, s.passed.remove(n)...)
			case heir.isAt(n):
				at.owner, at.heard = heir.id, heir.heard
			default: // it has another name, by which it is told and may leave
				delete(s.places, n)
			}
		}
	}
	return gone
}

// heir is the one that was heard last at the address of n, and lately, of those
// that have not left; nil if there is none. It may go by another name there.
func (s *state) heir(now time.Time, n cluster.Node) *sender {
	addr := n.Addr()
	for e := s.proven.order.Front(); e != nil; e = e.Next() {
		p := e.Value.(*sender) //nolint:forcetypeassert // the list holds nothing else
		if s.missed(now, p.heard) {
			return nil
		}
		if !p.left && (p.nodes[0].Addr() == addr || p.nodes[1].Addr() == addr) {
			return p
		}
	}
	return nil
}

func (p *sender) isAt(n cluster.Node) bool { return p.nodes[0] == n || p.nodes[1] == n }

// newcomers returns the nodes whose turn has come.
func (s *state) newcomers(now time.Time) (add []cluster.Node) {
	for len(s.untold) > 0 {
		n := s.untold[0]
		if s.isQueued(n) {
			admitted := s.passed.admits(n)
			if admitted && !s.newNodes.take(now) {
				break
			}
			s.places[n].queued, s.places[n].told = false, admitted
			if admitted {
				add = append(add, n)
				s.passed.note(now, n)
			}
		}
		s.untold = s.untold[1:]
	}
	return add
}

// missed reports whether more heartbeats are missing than may be lost.
func (s *state) missed(now, heard time.Time) bool {
	return now.Sub(heard) > missedHeartbeats*s.interval
}

// heardLately returns the nodes that were told and are still heard.
func (s *state) heardLately(now time.Time) (nodes []cluster.Node) {
	for n, at := range s.places {
		if at.told && !s.missed(now, at.heard) {
			nodes = append(nodes, n)
		}
	}
	s.passed.note(now, nodes...)
	return nodes
}

// pick returns by which of a sender's nodes it is reached best: by the first
// that is a name or of the family by which it was heard, else by the first. One
// that would lead to this machine doesn't count if it is another's.
func pick(nodes []cluster.Node, from origin) (best cluster.Node) {
	for _, n := range nodes {
		ip, isIP := n.IP()
		switch {
		case !from.local && (ip.IsLoopback() || n.Host() == "localhost"):
		case !isIP || ip.Is6() == from.ipv6:
			return n
		case best == "":
			best = n
		}
	}
	return best
}
