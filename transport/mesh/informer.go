package mesh

import (
	"net/netip"
	"slices"
	"time"
)

// An informer is a linked peer that tells of others.
type informer struct {
	*purse
	claims int                      // by weight
	of     map[instanceID][]*rumour // the claims, by instance: to withdraw one costs no search among all
}

// informer finds a peer that tells of others. One that is new takes over the
// purse that another from its place has left: to link anew fills no purse.
func (r *rumours) informer(from instanceID, place netip.Prefix, now time.Time) *informer {
	in := r.informers[from]
	if in == nil {
		in = &informer{of: map[instanceID][]*rumour{}, purse: r.takeOver(place, now)}
		r.informers[from] = in
	}
	return in
}

func (r *rumours) takeOver(place netip.Prefix, now time.Time) *purse {
	r.left = slices.DeleteFunc(r.left, func(p *purse) bool { return p.full(now) })
	if i := slices.IndexFunc(r.left, func(p *purse) bool { return p.place == place }); i >= 0 {
		p := r.left[i]
		r.left = slices.Delete(r.left, i, i+1)
		return p
	}
	return newPurse(place, now)
}

// claim notes that an informer is linked with an instance. The dial is spread
// for a crowd of so many. It returns false if the informer claims too much.
func (r *rumours) claim(in *informer, id instanceID, addrs []string, crowd int, now time.Time) bool {
	key := keyOf(id, addrs)
	u := r.all[key]
	if u != nil && slices.Contains(in.of[id], u) {
		return true
	}
	isNew := u == nil
	if isNew {
		u = &rumour{id: id, addrs: addrs}
	}
	if in.claims+u.weight() > r.most || isNew && !r.roomFor(in) {
		return false
	}
	r.all[key] = u
	in.claims += u.weight()
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
	for _, addr := range addrs {
		r.doubts.vouch(addr, in.place, now)
	}
	r.settle(u)
	return true
}

// roomFor reports whether one more rumour can be kept at the word of an
// informer. When there are too many, one of the informer with the most claims
// makes room, unless this one has its share.
func (r *rumours) roomFor(in *informer) bool {
	total := rumoursEach * r.most
	if len(r.all)-r.lost < total {
		return true
	}
	if in.claims >= total/len(r.informers) {
		return false
	}
	most := in
	for _, other := range r.informers {
		if other.claims > most.claims {
			most = other
		}
	}
	worst := most.leastClaimed()
	if worst == nil || most == in {
		return false
	}
	for len(worst.informers) > 0 {
		r.disown(worst.informers[0], worst)
	}
	return true
}

// leastClaimed is, among some of an informer's claims, the one that the fewest
// others make; nil if there is none that can be left out.
func (in *informer) leastClaimed() (least *rumour) {
	looks := 64
	for _, us := range in.of {
		for _, u := range us {
			if looks--; looks < 0 {
				return least
			}
			if u.dialling || !u.lostUntil.IsZero() {
				continue
			}
			if least == nil || len(u.informers) < len(least.informers) {
				least = u
			}
		}
	}
	return least
}

// withdraw notes that an informer has lost an instance.
func (r *rumours) withdraw(from, id instanceID) {
	if in := r.informers[from]; in != nil {
		r.unclaim(in, id)
	}
}

// retract forgets what an informer has claimed, as if it had taken it back.
func (r *rumours) retract(from instanceID) {
	if in := r.informers[from]; in != nil {
		for id := range in.of {
			r.unclaim(in, id)
		}
	}
}

// silence forgets all that an informer has claimed: its link is gone. What
// others say of it matters again.
func (r *rumours) silence(from instanceID) {
	for _, u := range r.all {
		if u.id == from {
			r.settle(u)
		}
	}
	in := r.informers[from]
	if in == nil {
		return
	}
	delete(r.informers, from)
	for id := range in.of {
		r.unclaim(in, id)
	}
	if len(r.left) >= maxLeft {
		r.left = slices.Delete(r.left, 0, 1)
	}
	r.left = append(r.left, in.purse)
}

func (r *rumours) unclaim(in *informer, id instanceID) {
	for us := in.of[id]; len(us) > 0; us = in.of[id] {
		r.disown(in, us[0])
	}
}

// disown takes one claim from an informer.
func (r *rumours) disown(in *informer, u *rumour) {
	u.informers = without(u.informers, in)
	if in.of[u.id] = without(in.of[u.id], u); len(in.of[u.id]) == 0 {
		delete(in.of, u.id)
	}
	in.claims -= u.weight()
	r.settle(u)
}

func without[T comparable](all []T, one T) []T {
	i := slices.Index(all, one)
	return slices.Delete(all, i, i+1)
}
