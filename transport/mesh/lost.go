package mesh

import (
	"slices"
	"time"
)

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
	r.settle(u)
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
	r.settle(u)
}

// giveUp stops looking for the peers that were lost at an address, and returns
// them.
func (r *rumours) giveUp(addr string) (ids []instanceID) {
	for _, u := range r.all {
		if !u.lostUntil.IsZero() && slices.Contains(u.addrs, addr) {
			ids = append(ids, u.id)
			r.found(u)
		}
	}
	return ids
}

// isLost reports whether a peer was linked at an address, and is looked for.
func (r *rumours) isLost(addr string) bool {
	for _, u := range r.all {
		if !u.lostUntil.IsZero() && slices.Contains(u.addrs, addr) {
			return true
		}
	}
	return false
}
