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

	// period is how long what mentions us is worth something, and as long again:
	// a sender is forgotten after that, when none of its packets proves it again.
	period = forgetAfter / 2

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

// A state is what one Run knows, as pure data: no clock, socket or goroutine.
type state struct {
	me       instance
	began    time.Time
	self     map[string]bool // the addresses of this node
	interval time.Duration
	random   func() float64 // in [0, 1)

	proven, unproven *table
	places           map[cluster.Node]*place
	passed           ledger
	untold           []cluster.Node // places whose turn is to come, in order; some may be gone
	departures       []departure    // in the order in which they count
	owed             []mention
	newNodes         bucket

	heartbeat time.Time
	gap       time.Duration // until the heartbeat after that
	sent      time.Time
	answer    time.Time // zero: none is due
	report    time.Time
}

func newState(now time.Time, me instance, self []cluster.Node, s Strategy, random func() float64) *state {
	addrs := map[string]bool{}
	for _, n := range self {
		addrs[n.Addr()] = true
	}
	return &state{
		me: me, began: now, self: addrs, interval: s.Interval, random: random,
		proven: newTable(maxProven), unproven: newTable(maxUnproven),
		places: map[cluster.Node]*place{}, passed: newLedger(s.MaxNodes), newNodes: newBucket(now, s.MaxNewNodes),
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

// period returns our period, of which the first is 1.
func (s *state) period(now time.Time) uint32 { return uint32(now.Sub(s.began)/period) + 1 }

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
	p.heard, p.period = now, max(p.period, m.period)
	i := slices.IndexFunc(m.heard, func(h mention) bool { return h.instance == s.me })
	p.proven = p.proven || i >= 0 && s.period(now)-m.heard[i].period <= 1 // this one, or the one before
	s.keep(p)
	if p.proven {
		s.locate(now, p, from, m.nodes)
	}
	if asked := i >= 0 && m.heard[i].asks; asked || !p.proven {
		s.owe(now, mention{instance: p.id, period: p.period, asks: !p.proven})
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
		if s.missed(now, p.heard) {
			return
		}
		s.addOwed(mention{instance: p.id, period: p.period, asks: true})
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

// forgetSilent drops those that were silent for long.
func (s *state) forgetSilent(now time.Time) {
	for _, t := range []*table{s.proven, s.unproven} {
		for p := t.oldest(); p != nil && now.Sub(p.heard) >= forgetAfter; p = t.oldest() {
			t.remove(p.id)
			s.forget(p)
		}
	}
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
