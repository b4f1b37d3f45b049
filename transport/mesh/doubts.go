package mesh

import (
	"net/netip"
	"slices"
	"time"
)

// doubts are the addresses that were dialled at hearsay in vain. They outlive
// what was said, so that to say it again, or of another instance, changes
// nothing. They are kept in two generations, each for [doubtTime] at most: a
// doubt lasts for one to two of these, or until many others are newer.
type doubts struct {
	young, old map[string]*doubt
	since      time.Time // when young began
}

type doubt struct {
	failures int
	places   []netip.Prefix // of those who have named the address
}

func (d *doubt) named(place netip.Prefix) {
	if !slices.Contains(d.places, place) && len(d.places) < maxDoubtersOf {
		d.places = append(d.places, place)
	}
}

func (ds *doubts) of(addr string, now time.Time) *doubt {
	switch age := now.Sub(ds.since); {
	case age >= 2*doubtTime:
		ds.young, ds.old, ds.since = map[string]*doubt{}, nil, now
	case age >= doubtTime || len(ds.young) >= maxDoubts:
		ds.young, ds.old, ds.since = map[string]*doubt{}, ds.young, now
	}
	if d := ds.young[addr]; d != nil {
		return d
	}
	return ds.old[addr]
}

// leave returns those of the addresses that may be dialled.
func (ds *doubts) leave(addrs []string, now time.Time) (left []string) {
	for _, addr := range addrs {
		if d := ds.of(addr, now); d == nil || d.failures < learnedFailures {
			left = append(left, addr)
		}
	}
	return left
}

// vouch notes that an address is named from a place: if that is a new one, its
// word is as good as the first.
func (ds *doubts) vouch(addr string, place netip.Prefix, now time.Time) {
	d := ds.of(addr, now)
	if d == nil || slices.Contains(d.places, place) || len(d.places) >= maxDoubtersOf {
		return
	}
	d.named(place)
	d.failures = 0
}

// failed notes that a dial was in vain that a place has paid for.
func (ds *doubts) failed(u *rumour, paid netip.Prefix, never bool, now time.Time) {
	for _, addr := range u.tries {
		d := ds.of(addr, now)
		if d == nil {
			d = &doubt{}
		}
		d.named(paid)
		for _, in := range u.informers {
			d.named(in.place)
		}
		if d.failures++; never {
			d.failures = learnedFailures
		}
		delete(ds.old, addr)
		ds.young[addr] = d
	}
}

// clear forgets the doubts of addresses that have led to a link.
func (ds *doubts) clear(addrs []string) {
	for _, addr := range addrs {
		delete(ds.young, addr)
		delete(ds.old, addr)
	}
}
