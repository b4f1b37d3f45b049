package mesh

import (
	"sync"
	"time"
)

const (
	repeatAfter = 10 * time.Minute
	repeatKinds = 256
)

// A repeater says when to log a thing again that happens over and over: what
// somebody on the network can cause at will must not fill the disk.
type repeater struct {
	mu   sync.Mutex
	seen map[[2]string]*repeated
}

type repeated struct {
	logged time.Time
	since  int
}

// due reports whether to log what happened to whom: at most every ten minutes.
// left is how many lines were left out since the last one.
func (r *repeater) due(what, whom string, now time.Time) (left int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[[2]string]*repeated{}
	}
	key := [2]string{what, whom}
	if e := r.seen[key]; e != nil {
		if now.Sub(e.logged) < repeatAfter {
			e.since++
			return 0, false
		}
		left, e.since, e.logged = e.since, 0, now
		return left, true
	}
	if r.count(what) >= repeatKinds {
		r.forget(now)
		if r.count(what) >= repeatKinds {
			return 0, false
		}
	}
	r.seen[key] = &repeated{logged: now}
	return 0, true
}

// count is how many a kind has: one that is caused at will hides no other.
func (r *repeater) count(what string) (n int) {
	for key := range r.seen {
		if key[0] == what {
			n++
		}
	}
	return n
}

func (r *repeater) forget(now time.Time) {
	for k, e := range r.seen {
		if now.Sub(e.logged) >= repeatAfter {
			delete(r.seen, k)
		}
	}
}
