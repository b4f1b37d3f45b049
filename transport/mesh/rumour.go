package mesh

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Bounds of what peers can make this node dial.
const (
	learnedMost     = 32 // dials for one informant that haven't been proved yet
	learnedPerSec   = 5  // further ones a second
	learnedFailures = 5  // after which what an informant says is given up
	rumoursEach     = 4  // times what one informant may claim is kept of all

	claimBytes = 256 // of addresses that one claim covers; longer ones count as several

	maxLeft       = 1024 // purses of those who are gone
	doubtTime     = time.Hour
	maxDoubts     = 4096
	maxDoubtersOf = 32 // places that have named one address

	// skipPause is after what time a rumour is looked at again of whom there was
	// nothing to do: its instance is linked, or was disconnected on purpose.
	skipPause = 30 * time.Second

	lostPauseMin = time.Second // the caller of Connect comes first
	lostPauseMax = 30 * time.Second
	maxLost      = 4096

	// ownerTime is how long a caller of Connect counts as the one who dials a
	// node again: a little longer than its longest backoff.
	ownerTime = time.Minute

	// spreadPerPeer, up to spreadMax, is over what time a learned dial is
	// spread, so that a newcomer isn't met by everybody at once. The side of a
	// pair that doesn't dial first gives the other spreadTurn more.
	spreadPerPeer = 5 * time.Millisecond
	spreadMax     = time.Second
	spreadTurn    = 500 * time.Millisecond
)

// rumours are the instances that this node might link with: peers say that they
// are linked with them, or they were linked here and got lost. It is pure data,
// told what happens and when; its owner's lock guards it.
type rumours struct {
	self   string         // the address by which pairs agree who dials first
	most   int            // claims that one informant may have, by weight
	random func() float64 // in [0,1)

	all       map[rumourKey]*rumour
	agenda    agenda // those of all with which there is something to do
	informers map[instanceID]*informer
	left      []*purse // of informers who are gone; the oldest first
	doubts    doubts
	lost      int // how many of all were lost
}

// rumourKey holds the addresses too, so that a lie about an instance doesn't
// hide the truth.
type rumourKey struct {
	id    instanceID
	addrs string
}

type rumour struct {
	id        instanceID
	addrs     []string
	informers []*informer
	lostUntil time.Time // while it is dialled because it was lost; zero if not
	asked     time.Time // when a caller of Connect last wanted it
	failures  int
	next      time.Time

	at    time.Time // when to look at it, if it is on the agenda
	index int       // on the agenda, from 1; 0 if it isn't there
	line  *purse    // in whose line it waits; nil if in none

	dialling bool
	tries    []string // the addresses of the dial under way
	paidBy   *purse   // of that dial; nil if it was lost
}

func newRumours(self string, most int, random func() float64) *rumours {
	return &rumours{
		self: self, most: most, random: random,
		all: map[rumourKey]*rumour{}, informers: map[instanceID]*informer{},
	}
}

// weight is as how many claims one counts, which have up to so many bytes.
func (u *rumour) weight() int {
	bytes := 0
	for _, a := range u.addrs {
		bytes += len(a)
	}
	return 1 + bytes/claimBytes
}

func keyOf(id instanceID, addrs []string) rumourKey { return rumourKey{id, strings.Join(addrs, " ")} }

// spread is how long to wait with the first dial.
func (r *rumours) spread(u *rumour, crowd int) time.Duration {
	over := min(spreadPerPeer*time.Duration(crowd), spreadMax)
	d := time.Duration(r.random() * float64(over))
	if !dialsFirst(r.self, u.addrs[0]) {
		d += over + spreadTurn
	}
	return d
}

// settle plans what to do with a rumour after it has changed, and forgets what
// nobody claims and nobody has lost.
func (r *rumours) settle(u *rumour) {
	u.leave()
	isLost := !u.lostUntil.IsZero()
	if len(u.informers) == 0 && !isLost && !u.dialling {
		delete(r.all, keyOf(u.id, u.addrs))
	}
	if u.dialling || !isLost && (len(u.informers) == 0 || u.failures >= learnedFailures) {
		r.agenda.remove(u)
		return
	}
	at := u.next
	if owned := u.asked.Add(ownerTime); owned.After(at) && !u.asked.IsZero() {
		at = owned
	}
	r.agenda.put(u, at)
}

// linked notes that an instance is linked here. Who was lost at its addresses is
// found, or has made room for it.
func (r *rumours) linked(id instanceID, addrs []string) {
	for _, u := range r.all {
		if u.id == id || slices.ContainsFunc(u.addrs, func(a string) bool { return slices.Contains(addrs, a) }) {
			r.found(u)
		}
	}
}

// wanted notes that a caller of Connect dials an address.
func (r *rumours) wanted(addr string, now time.Time) {
	for _, u := range r.all {
		if slices.Contains(u.addrs, addr) {
			u.asked = now
			r.settle(u)
		}
	}
}

// due returns what to dial now, among those that skip leaves, and when to ask
// again; zero if there is nothing to wait for.
func (r *rumours) due(now time.Time, skip func(*rumour) bool) (dials []*rumour, next time.Time) {
	for len(r.agenda) > 0 && !r.agenda[0].at.After(now) {
		u := r.agenda[0]
		if !u.lostUntil.IsZero() && !u.lostUntil.After(now) {
			r.found(u)
			continue
		}
		line := u.line
		if wait := r.consider(u, now, skip); wait > 0 {
			r.agenda.put(u, now.Add(wait))
		} else {
			u.dialling = true
			dials = append(dials, u)
			r.agenda.remove(u)
			line = u.paidBy
		}
		if u.line == nil {
			r.callNext(line, now)
		}
	}
	if len(r.agenda) > 0 {
		next = r.agenda[0].at
	}
	slices.SortFunc(dials, func(a, b *rumour) int { return cmp.Compare(a.addrs[0], b.addrs[0]) })
	return dials, next
}

// consider pays for the dial of a rumour, if there is to be one now, or returns
// when to look at it again.
func (r *rumours) consider(u *rumour, now time.Time, skip func(*rumour) bool) (wait time.Duration) {
	u.leave()
	u.paidBy, u.tries = nil, u.addrs
	switch {
	case skip(u):
		return skipPause
	case !u.lostUntil.IsZero():
		return 0 // costs nothing: it had proved itself
	}
	u.tries = r.doubts.leave(u.addrs, now)
	if len(u.tries) == 0 {
		return doubtTime
	}
	return u.pay(now)
}

// pay finds an informer who can pay for the dial of a rumour, or the line in
// which it has the shortest wait.
func (u *rumour) pay(now time.Time) (shortest time.Duration) {
	var line *purse
	for _, in := range u.informers {
		wait := in.take(u.price(), now)
		if wait == 0 {
			u.paidBy = in.purse
			return 0
		}
		if wait = in.inTurn(wait); line == nil || wait < shortest {
			line, shortest = in.purse, wait
		}
	}
	u.line = line
	line.line[u] = true
	if line.first == nil {
		line.first = u
	}
	return shortest
}

// callNext has one who waits for a purse look whether it can pay now. If so, it
// calls the next in its turn: so not all have to ask whenever a token comes.
func (r *rumours) callNext(p *purse, now time.Time) {
	if p == nil {
		return
	}
	for u := range p.line {
		r.agenda.put(u, now)
		return
	}
}

// leave takes a rumour out of the line in which it waits.
func (u *rumour) leave() {
	if u.line != nil {
		delete(u.line.line, u)
		if u.line.first == u {
			u.line.first = nil
		}
		u.line = nil
	}
}

// price is what dialling its addresses costs.
func (u *rumour) price() float64 { return float64(len(u.tries)) }

// dialled notes how a dial has ended: whether the instance is linked now, and
// if not, whether it never will be.
func (r *rumours) dialled(u *rumour, linked, never bool, now time.Time) {
	u.dialling = false
	switch {
	case linked:
		u.failures = 0
		r.doubts.clear(u.tries)
	case never:
		u.failures = learnedFailures
	default:
		u.failures++
		u.next = now.Add(r.lostPause(u.failures))
	}
	if p := u.paidBy; p != nil {
		u.paidBy = nil
		p.open--
		if linked {
			p.tokens.giveBack(u.price())
		} else {
			r.doubts.failed(u, p.place, never, now)
		}
		r.callNext(p, now)
	}
	if linked || never {
		r.found(u)
	} else {
		r.settle(u)
	}
}
