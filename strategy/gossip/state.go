package gossip

import (
	"crypto/cipher"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
)

// What a Run keeps to.
const (
	// firstGap is after what time a newcomer announces itself again; each
	// further time it waits twice as long, up to the interval. So a lost packet
	// costs little.
	firstGap = 100 * time.Millisecond

	// minGap is between two answers: what is owed is answered together.
	minGap = 100 * time.Millisecond

	// Answers come at a random moment, within more time the more nodes there
	// are, so that a newcomer isn't drowned.
	answerSpread        = 20 * time.Millisecond
	answerSpreadPerNode = time.Millisecond
	maxAnswerSpread     = 500 * time.Millisecond

	// leaveGrace is how long after a farewell a node counts as gone. A strategy
	// that is only replaced by another, with a new interval say, says farewell
	// as well, and within this time the new one is heard at the same address.
	leaveGrace = 2 * time.Second

	// forgetAfter is how long a sender may be silent before its replay window
	// and key are dropped: it has to prove itself again then. Nothing is
	// removed for that.
	forgetAfter = 10 * time.Minute

	// firstReport is when a Run that has heard nobody says so.
	firstReport = time.Second

	// missedHeartbeats are as many as may be lost before a node isn't reported
	// as heard.
	missedHeartbeats = 3

	// Bounds of what is remembered.
	maxProven   = 4096
	maxUnproven = 1024
	maxOwed     = 1024
	maxReminded = 32
	maxLeaving  = 4096
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
	owner instance // the one that was last heard alive there
	heard time.Time
	told  bool // to the roster
}

// A departure is a farewell that was heard.
type departure struct {
	at    time.Time // when it counts
	id    instance
	nodes [2]cluster.Node
}

// A state is what one Run knows, as pure data: no clock, socket or goroutine.
type state struct {
	me       instance
	self     cluster.Node
	interval time.Duration
	random   func() float64 // in [0, 1)

	proven, unproven *table
	places           map[cluster.Node]*place
	untold           []cluster.Node // new places, in order; some may be gone
	departures       []departure    // in the order in which they count
	owed             []mention
	newNodes         bucket

	heartbeat time.Time
	gap       time.Duration // until the heartbeat after that
	sent      time.Time
	answer    time.Time // zero: none is due
	report    time.Time
}

func newState(now time.Time, me instance, self cluster.Node, s Strategy, random func() float64) *state {
	return &state{
		me: me, self: self, interval: s.Interval, random: random,
		proven: newTable(maxProven), unproven: newTable(maxUnproven),
		places: map[cluster.Node]*place{}, newNodes: newBucket(now, s.MaxNewNodes),
		heartbeat: now, gap: min(firstGap, s.Interval), report: now.Add(min(firstReport, s.Interval)),
	}
}

// sender returns whom a packet says it is from; nil if it is unknown.
func (s *state) sender(id instance) *sender {
	if p := s.proven.get(id); p != nil {
		return p
	}
	return s.unproven.get(id)
}

// hear takes an authentic and fresh packet of our cluster.
func (s *state) hear(now time.Time, h header, key cipher.AEAD, m message, from origin) {
	p := s.sender(h.instance)
	if p == nil {
		if m.leaving {
			return // nobody we know
		}
		p = &sender{id: h.instance, key: key}
	}
	p.window.note(h.counter)
	if p.left {
		return
	}
	if m.leaving {
		s.depart(now, p)
		return
	}
	p.heard = now
	i := slices.IndexFunc(m.heard, func(h mention) bool { return h.instance == s.me })
	p.proven = p.proven || i >= 0
	s.keep(p)
	if p.proven {
		s.locate(now, p, from, m.nodes)
	}
	if asked := i >= 0 && m.heard[i].asks; asked || !p.proven {
		s.owe(now, mention{instance: p.id, asks: !p.proven})
	}
}

// keep puts a sender into the table where it belongs.
func (s *state) keep(p *sender) {
	if !p.proven {
		s.unproven.put(p)
		return
	}
	s.unproven.remove(p.id)
	if evicted := s.proven.put(p); evicted != nil {
		s.forget(evicted)
	}
}

// locate notes by which of its nodes a sender is reached.
func (s *state) locate(now time.Time, p *sender, from origin, nodes []cluster.Node) {
	n := pick(nodes, from)
	if was := p.nodes[from.family()]; was != n {
		p.nodes[from.family()] = n
		s.leave(was, p)
	}
	if n == "" || n.Addr() == s.self.Addr() {
		return
	}
	at := s.places[n]
	if at == nil {
		at = &place{}
		s.places[n] = at
		s.enqueue(n)
	}
	at.owner, at.heard = p.id, now
}

// enqueue has a new node told, once its turn comes.
func (s *state) enqueue(n cluster.Node) {
	if len(s.untold) >= 4*maxProven { // many are gone: there are at most two places a sender
		s.untold = slices.DeleteFunc(s.untold, func(n cluster.Node) bool { return !s.isUntold(n) })
	}
	s.untold = append(s.untold, n)
}

func (s *state) isUntold(n cluster.Node) bool { return s.places[n] != nil && !s.places[n].told }

// leave drops the place n if p was the last one there, and no longer goes by it.
func (s *state) leave(n cluster.Node, p *sender) {
	if at := s.places[n]; at != nil && at.owner == p.id && p.nodes[0] != n && p.nodes[1] != n {
		delete(s.places, n)
	}
}

// forget drops all that is known of a sender that isn't in the table any more.
func (s *state) forget(p *sender) {
	nodes := p.nodes
	p.nodes = [2]cluster.Node{}
	for _, n := range nodes {
		s.leave(n, p)
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
		p.left = true
		s.departures = append(s.departures, departure{now.Add(leaveGrace), p.id, p.nodes})
	}
}

// owe has an instance mentioned in an answer soon.
func (s *state) owe(now time.Time, m mention) {
	s.addOwed(m)
	if s.answer.IsZero() {
		spread := min(answerSpread+time.Duration(s.proven.len())*answerSpreadPerNode, maxAnswerSpread)
		s.answer = later(now.Add(time.Duration(s.random()*float64(spread))), s.sent.Add(minGap))
	}
}

func (s *state) addOwed(m mention) {
	i := slices.IndexFunc(s.owed, func(o mention) bool { return o.instance == m.instance })
	switch {
	case i >= 0:
		s.owed[i] = m
	case len(s.owed) < maxOwed:
		s.owed = append(s.owed, m)
	}
}

// A todo is what is due.
type todo struct {
	send   bool
	add    []cluster.Node // for the roster
	remove []cluster.Node
	report bool // add is an answer even if it is empty
}

// remind has a heartbeat ask those again that have not mentioned us: what they
// were asked, or their answer, may be lost.
func (s *state) remind(now time.Time) {
	for e := s.unproven.order.Front(); e != nil && len(s.owed) < maxReminded; e = e.Next() {
		p := e.Value.(*sender) //nolint:forcetypeassert // the list holds nothing else
		if now.Sub(p.heard) > missedHeartbeats*s.interval {
			return
		}
		s.addOwed(mention{instance: p.id, asks: true})
	}
}

// step returns what is due.
func (s *state) step(now time.Time) todo {
	var do todo
	do.remove = s.departed(now)
	s.forgetSilent(now)
	do.add = s.newcomers(now)
	if do.report = !now.Before(s.report); do.report {
		s.report = now.Add(s.interval)
		do.add = append(do.add, s.heardLately(now)...)
	}
	if do.send = !now.Before(s.sendAt()); do.send {
		s.sent = now
		if !now.Before(s.heartbeat) {
			s.remind(now)
			s.heartbeat = now.Add(jitter(s.gap, s.random()))
			s.gap = min(2*s.gap, s.interval)
		}
	}
	return do
}

// announce has us say at once, and again soon, that we are here, as at the start.
func (s *state) announce(now time.Time) {
	s.heartbeat, s.gap = now, min(firstGap, s.interval)
}

// sendAt is when the next packet is due.
func (s *state) sendAt() time.Time { return earlier(s.heartbeat, s.answer) }

// mentions takes what is owed, at most n, for a packet that is sent now.
func (s *state) mentions(now time.Time, n int) []mention {
	n = min(n, len(s.owed))
	taken := slices.Clone(s.owed[:n])
	s.owed = slices.Delete(s.owed, 0, n)
	s.answer = time.Time{}
	if len(s.owed) > 0 {
		s.answer = now.Add(minGap)
	}
	return taken
}

// departed returns the nodes whose farewells count now: of those that were the
// last ones heard there.
func (s *state) departed(now time.Time) (gone []cluster.Node) {
	for len(s.departures) > 0 && !now.Before(s.departures[0].at) {
		d := s.departures[0]
		s.departures = s.departures[1:]
		for _, n := range d.nodes {
			if at := s.places[n]; at != nil && at.owner == d.id {
				delete(s.places, n)
				gone = append(gone, n)
			}
		}
	}
	return gone
}

// forgetSilent drops those that were silent for long.
func (s *state) forgetSilent(now time.Time) {
	for _, t := range []*table{s.proven, s.unproven} {
		for p := t.oldest(); p != nil && now.Sub(p.heard) >= forgetAfter; p = t.oldest() {
			t.remove(p.id)
			s.forget(p)
		}
	}
}

// newcomers returns the new nodes whose turn has come.
func (s *state) newcomers(now time.Time) (add []cluster.Node) {
	for len(s.untold) > 0 {
		n := s.untold[0]
		if s.isUntold(n) {
			if !s.newNodes.take(now) {
				break
			}
			s.places[n].told = true
			add = append(add, n)
		}
		s.untold = s.untold[1:]
	}
	return add
}

// heardLately returns the nodes that were told and are still heard.
func (s *state) heardLately(now time.Time) (nodes []cluster.Node) {
	for n, at := range s.places {
		if at.told && now.Sub(at.heard) <= missedHeartbeats*s.interval {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// next is when step has something to do.
func (s *state) next() time.Time {
	next := earlier(s.sendAt(), s.report)
	if len(s.departures) > 0 {
		next = earlier(next, s.departures[0].at)
	}
	if len(s.untold) > 0 {
		next = earlier(next, s.newNodes.next())
	}
	return next
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

// jitter returns d, give or take a fifth.
func jitter(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier is the earlier of two times of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
