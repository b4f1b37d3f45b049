package cluster

import (
	"maps"
	"slices"
	"time"
)

// A history is all that has happened to one topology. It answers the questions
// that wants answers, in the plainest way: from the whole of it, each time anew,
// with nothing remembered. It is what TestOracle and FuzzReconcile check the
// core against.
type history []entry

type entry struct {
	at    time.Time
	kind  entryKind
	nodes []Node
	keep  []Node
	down  map[Node]time.Time // of a look: since when nodes are down, if they are
	leads map[Node]lead      // of a look: where nodes lead, as far as the core knows
}

type entryKind int

const (
	didReplace entryKind = iota
	didAdd
	didRemove
	didFail
	didEnd     // Run returned nil
	didInherit // another strategy
	didPoll    // the strategy called ConfirmWithin
	didRetire  // the topology is gone
	didLook    // the clock was looked at, and what has run out by then is forgotten
)

func (e *entry) has(n Node) bool { return slices.Contains(e.nodes, n) }
func (e *entry) lists(n Node) bool {
	return e.kind == didReplace && (e.has(n) || slices.Contains(e.keep, n))
}
func (e *entry) stopsClocks() bool   { return e.kind == didFail || e.kind == didInherit }
func (e *entry) removes(n Node) bool { return e.kind == didRemove && e.has(n) }

// look adds a look, instead of the last entry if that was the same, earlier.
func (h history) look(e entry) history {
	if i := len(h) - 1; i >= 0 && h[i].kind == didLook && maps.Equal(h[i].down, e.down) && maps.Equal(h[i].leads, e.leads) {
		h = h[:i]
	}
	return append(h, e)
}

// last is the index of the last entry for which is holds; -1 if there is none.
func (h history) last(is func(*entry) bool) int {
	for i := len(h) - 1; i >= 0; i-- {
		if is(&h[i]) {
			return i
		}
	}
	return -1
}

func (h history) any(is func(*entry) bool) bool { return h.last(is) >= 0 }

// want is what the topology wants of a node, and since when it is missing if
// its clock runs, when so much is known of where names lead.
func (h history) want(n Node, grace, ttl time.Duration, leads map[Node]lead) (Want, time.Time) {
	want, since, orphan := h.answer(n, grace, ttl, leads)
	switch {
	case want == Wanted || orphan:
		return Wanted, since
	case h.hinted(n, ttl):
		return Hint, since
	default:
		return want, since
	}
}

// answer is what complete answers say of a node. One that only answers of nobody
// have left out is an orphan.
func (h history) answer(n Node, grace, ttl time.Duration, leads map[Node]lead) (want Want, since time.Time, orphan bool) {
	listed := h.last(func(e *entry) bool { return e.lists(n) })
	if h[listed+1:].any(func(e *entry) bool { return e.removes(n) }) {
		listed = -1
	}
	retired := h.last(func(e *entry) bool { return e.kind == didRetire })
	if retired >= 0 && h[:retired].hinted(n, ttl) {
		if want, _, _ := h[:retired].answer(n, grace, ttl, leads); want == 0 {
			listed = retired - 1 // a hint lingers too when its topology goes
		}
	}
	if listed < 0 {
		return 0, time.Time{}, false
	}
	after := h[listed+1:]
	missing := func(e *entry) bool { return e.kind == didReplace || e.kind == didRetire }
	stopped := after.last((*entry).stopsClocks)
	for i := range after {
		e := &after[i]
		if missing(e) && h.ranOut(listed+1+i, grace) {
			return 0, time.Time{}, false
		}
		if missing(e) && i > stopped && since.IsZero() {
			since = e.at
		}
	}
	if !after.any(missing) {
		if h[listed].has(n) {
			return Wanted, time.Time{}, false
		}
		return Kept, time.Time{}, false
	}
	orphan = h[listed].has(n) && h[listed].kind == didReplace
	for i, e := range after {
		if e.kind == didRetire || after.lists(i, func(n Node) bool { return leads[n] != leadsHere }) {
			orphan = false
		}
	}
	return Lingering, since, orphan
}

// lists reports whether an entry is an answer with a node for which is holds, or
// that was removed since: who was that was somebody.
func (h history) lists(i int, is func(Node) bool) bool {
	return h[i].kind == didReplace && slices.ContainsFunc(slices.Concat(h[i].nodes, h[i].keep), func(n Node) bool {
		return is(n) || h[i:].any(func(e *entry) bool { return e.removes(n) })
	})
}

// nobody reports whether the latest answer lists nobody that is known to be another.
func (h history) nobody(leads map[Node]lead) bool {
	latest := h.last(func(e *entry) bool { return e.kind == didReplace })
	return latest >= 0 && !h.lists(latest, func(n Node) bool { return leads[n] == leadsElsewhere })
}

// ranOut reports whether the clock that began with an entry was looked at when it
// was due or later, and not stopped before.
func (h history) ranOut(began int, grace time.Duration) bool {
	for i := began; i < len(h); i++ {
		e := &h[i]
		if e.stopsClocks() {
			return false
		}
		if e.kind == didLook && !e.at.Before(h[began].at.Add(grace)) && !(grace > 0 && h[:i].waits(began, e.leads)) {
			return true
		}
	}
	return false
}

// waits reports whether a strategy that asks again has to say once more that there
// is nobody before those are given up whose clock began with an entry.
func (h history) waits(began int, leads map[Node]lead) bool {
	polled := h.last(func(e *entry) bool { return e.kind == didPoll })
	over := h.last(func(e *entry) bool { return e.kind == didEnd || e.kind == didInherit || e.kind == didRetire })
	again := 0
	for _, e := range h[began+1:] {
		if e.kind == didReplace {
			again++
		}
	}
	return polled > over && again < 2 && h.nobody(leads)
}

// hinted reports whether a node was heard of, and not given up since.
func (h history) hinted(n Node, ttl time.Duration) bool {
	added := h.last(func(e *entry) bool { return e.kind == didAdd && e.has(n) })
	if added < 0 || h[added:].any(func(e *entry) bool { return e.removes(n) || e.kind == didRetire }) {
		return false
	}
	for i := added; i < len(h); i++ {
		if h[i].kind == didLook && !h[i].at.Before(h[added].at.Add(ttl)) && h[:i].givesUp(n, &h[i], ttl) {
			return false
		}
	}
	return true
}

// givesUp reports whether a hint is given up at a look: its link is down, the
// source has answered without it since, and works.
func (h history) givesUp(n Node, look *entry, ttl time.Duration) bool {
	down, isDown := look.down[n]
	heard := h.last(func(e *entry) bool { return (e.kind == didAdd || e.kind == didReplace) && e.has(n) })
	inherited := h.last(func(e *entry) bool { return e.kind == didInherit })
	failed := h.last(func(e *entry) bool { return e.kind == didFail })
	ended := h.last(func(e *entry) bool { return e.kind == didEnd })
	answered := -1
	for i := range h {
		if h.good(i) {
			answered = i
		}
	}
	switch {
	case !isDown || down.Add(ttl).After(look.at) || h[heard].at.Add(ttl).After(look.at):
		return false
	case failed > max(answered, inherited) || ended > inherited:
		return false
	default:
		return answered > max(heard, inherited)
	}
}

// good reports whether an entry is a good answer: a complete one, or hints that
// don't come from a source of which another part has just failed.
func (h history) good(i int) bool {
	if h[i].kind != didAdd {
		return h[i].kind == didReplace
	}
	before := h[:i].last(func(e *entry) bool {
		return e.kind == didFail || e.kind == didAdd || e.kind == didReplace || e.kind == didInherit
	})
	return before < 0 || h[before].kind != didFail
}
