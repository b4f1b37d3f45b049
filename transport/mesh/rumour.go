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
	most   int            // claims that one informant may have
	random func() float64 // in [0,1)

	all       map[rumourKey]*rumour
	informers map[instanceID]*informer
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
	dialling  bool
	paidBy    *informer // of the dial under way; nil if it was lost
}

// An informer is a linked peer that tells of others. Its dials are paid for out
// of a token bucket, and the tokens come back when a dial is proved.
type informer struct {
	claims int
	of     map[instanceID][]*rumour // the claims, by instance: to withdraw one costs no search among all
	open   int                      // dials under way
	tokens bucket
}

func newRumours(self string, most int, random func() float64) *rumours {
	return &rumours{
		self: self, most: most, random: random,
		all: map[rumourKey]*rumour{}, informers: map[instanceID]*informer{},
	}
}

func keyOf(id instanceID, addrs []string) rumourKey { return rumourKey{id, strings.Join(addrs, " ")} }

// claim notes that an informer is linked with an instance. The dial is spread
// for a crowd of so many. It returns false if the informer claims too much.
func (r *rumours) claim(from, id instanceID, addrs []string, crowd int, now time.Time) bool {
	in := r.informers[from]
	if in == nil {
		in = &informer{of: map[instanceID][]*rumour{}, tokens: newBucket(learnedMost, learnedPerSec, now)}
		r.informers[from] = in
	}
	key := keyOf(id, addrs)
	u := r.all[key]
	if u != nil && slices.Contains(in.of[id], u) {
		return true
	}
	if in.claims >= r.most {
		return false
	}
	if u == nil {
		u = &rumour{id: id, addrs: addrs}
		r.all[key] = u
	}
	in.claims++
	waits := u.failures > 0 || !u.lostUntil.IsZero() // of which there is no need any more
	fresh := len(u.informers) == 0 && u.lostUntil.IsZero()
	if fresh || waits {
		if at := now.Add(r.spread(u, crowd)); fresh || at.Before(u.next) {
			u.next = at
		}
	}
	u.informers = append(u.informers, in)
	in.of[id] = append(in.of[id], u)
	u.failures = 0 // somebody else has reached it
	return true
}

// spread is how long to wait with the first dial.
func (r *rumours) spread(u *rumour, crowd int) time.Duration {
	over := min(spreadPerPeer*time.Duration(crowd), spreadMax)
	d := time.Duration(r.random() * float64(over))
	if !dialsFirst(r.self, u.addrs[0]) {
		d += over + spreadTurn
	}
	return d
}

// withdraw notes that an informer has lost an instance.
func (r *rumours) withdraw(from, id instanceID) {
	if in := r.informers[from]; in != nil {
		r.unclaim(in, id)
	}
}

// silence forgets all that an informer has claimed: its link is gone.
func (r *rumours) silence(from instanceID) {
	in := r.informers[from]
	if in == nil {
		return
	}
	delete(r.informers, from)
	for id := range in.of {
		r.unclaim(in, id)
	}
}

func (r *rumours) unclaim(in *informer, id instanceID) {
	for _, u := range in.of[id] {
		i := slices.Index(u.informers, in)
		u.informers = slices.Delete(u.informers, i, i+1)
		in.claims--
		r.prune(u)
	}
	delete(in.of, id)
}

// prune forgets what nobody claims and nobody has lost.
func (r *rumours) prune(u *rumour) {
	if len(u.informers) == 0 && u.lostUntil.IsZero() && !u.dialling {
		delete(r.all, keyOf(u.id, u.addrs))
	}
}

// lose notes that a peer was lost, and is to be dialled until the time given.
func (r *rumours) lose(id instanceID, addrs []string, until, now time.Time) {
	key := keyOf(id, addrs)
	u := r.all[key]
	if u == nil {
		u = &rumour{id: id, addrs: addrs}
		r.all[key] = u
	}
	if u.lostUntil.IsZero() {
		r.lost++
	}
	u.lostUntil, u.failures, u.next = until, 0, now.Add(r.lostPause(1))
	for r.lost > maxLost {
		r.forgetOldest()
	}
}

// lostPause is the wait before a lost peer is dialled, after so many failures:
// from a half to the whole of 1 s, doubled with each up to 30 s.
func (r *rumours) lostPause(failures int) time.Duration {
	d := lostPauseMin
	for ; failures > 1 && d < lostPauseMax; failures-- {
		d *= 2
	}
	return time.Duration((0.5 + r.random()/2) * float64(min(d, lostPauseMax)))
}

func (r *rumours) forgetOldest() {
	var oldest *rumour
	for _, u := range r.all {
		if !u.lostUntil.IsZero() && (oldest == nil || u.lostUntil.Before(oldest.lostUntil)) {
			oldest = u
		}
	}
	r.found(oldest)
}

// found notes that a lost peer isn't looked for any more.
func (r *rumours) found(u *rumour) {
	if !u.lostUntil.IsZero() {
		u.lostUntil = time.Time{}
		r.lost--
	}
	r.prune(u)
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
		}
	}
}

// due returns what to dial now, among those that skip leaves, and when to ask
// again; zero if there is nothing to wait for.
func (r *rumours) due(now time.Time, skip func(*rumour) bool) (dials []*rumour, next time.Time) {
	for _, u := range r.all {
		if !u.lostUntil.IsZero() && !u.lostUntil.After(now) {
			r.found(u)
		}
		if u.dialling || skip(u) || u.lostUntil.IsZero() && (len(u.informers) == 0 || u.failures >= learnedFailures) {
			continue
		}
		at := u.next
		if owned := u.asked.Add(ownerTime); owned.After(at) && !u.asked.IsZero() {
			at = owned
		}
		if !at.After(now) {
			if at = r.pay(u, now); !at.After(now) {
				u.dialling = true
				dials = append(dials, u)
				continue
			}
		}
		next = soonest(next, at)
	}
	slices.SortFunc(dials, func(a, b *rumour) int { return cmp.Compare(a.addrs[0], b.addrs[0]) })
	return dials, next
}

// pay finds an informer who can pay for the dial of a rumour, and returns when
// one can. What was lost costs nothing: it had proved itself.
func (r *rumours) pay(u *rumour, now time.Time) (at time.Time) {
	if u.paidBy = nil; !u.lostUntil.IsZero() {
		return now
	}
	for _, in := range u.informers {
		wait := time.Second // the end of a dial asks again, too
		if in.open < learnedMost {
			wait = in.tokens.take(u.price(), now)
		}
		if wait == 0 {
			in.open++
			u.paidBy = in
			return now
		}
		at = soonest(at, now.Add(wait))
	}
	return at
}

// price is what dialling all of its addresses costs.
func (u *rumour) price() float64 { return float64(len(u.addrs)) }

// dialled notes how a dial has ended: whether the instance is linked now, and
// if not, whether it never will be.
func (r *rumours) dialled(u *rumour, linked, never bool, now time.Time) {
	u.dialling = false
	if in := u.paidBy; in != nil {
		in.open--
		if linked {
			in.tokens.giveBack(u.price())
		}
		u.paidBy = nil
	}
	switch {
	case linked:
		u.failures = 0
		r.found(u)
	case never:
		u.failures = learnedFailures
		r.found(u)
	default:
		u.failures++
		u.next = now.Add(r.lostPause(u.failures))
		r.prune(u)
	}
}

// soonest is the earlier of two times of which zero is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
