package mesh

import (
	"net/netip"
	"time"
)

// A purse pays for the dials at an informer's word: so many may be under way,
// and the tokens come back when one is proved.
type purse struct {
	place  netip.Prefix // where the informer is linked from
	open   int          // dials under way
	tokens bucket
	line   map[*rumour]bool // who waits for it to be filled
	first  *rumour          // of them, who looks as soon as there is a token
}

func newPurse(place netip.Prefix, now time.Time) *purse {
	return &purse{place: place, tokens: newBucket(learnedMost, learnedPerSec, now), line: map[*rumour]bool{}}
}

// take pays for a dial, or says how long it is until it may.
func (p *purse) take(price float64, now time.Time) (wait time.Duration) {
	if p.open >= learnedMost {
		return time.Second // the end of a dial calls the next, too
	}
	if wait = p.tokens.take(price, now); wait == 0 {
		p.open++
	}
	return wait
}

// inTurn is when to look again after a wait for a token: one who waits does then,
// and the others after about as long as all before them take.
func (p *purse) inTurn(wait time.Duration) time.Duration {
	if p.first == nil {
		return wait
	}
	return wait + time.Duration(len(p.line))*time.Second/learnedPerSec
}

// full reports whether a purse is as good as a new one.
func (p *purse) full(now time.Time) bool {
	p.tokens.fill(now)
	return p.open == 0 && p.tokens.tokens >= p.tokens.most
}
