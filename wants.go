package cluster

import "time"

// A Want says what a topology wants of a node.
type Want int

// What a topology may want of a node.
const (
	// Wanted: the source lists it, and it is dialled.
	Wanted Want = iota + 1
	// Hint: the source has heard of it, and it is dialled.
	Hint
	// Lingering: the source no longer lists it; neither dialled nor cut yet.
	Lingering
	// Kept: the source says to leave it as it is: neither dialled nor cut.
	Kept
)

func (w Want) String() string {
	switch w {
	case Wanted:
		return "wanted"
	case Hint:
		return "hint"
	case Lingering:
		return "lingering"
	case Kept:
		return "kept"
	default:
		return "none"
	}
}

// dials reports whether a node that is wanted so is dialled.
func (w Want) dials() bool { return w == Wanted || w == Hint }

// wants are the nodes that one topology has heard of, as pure data: complete
// answers and hints, apart.
type wants struct {
	topology string
	answers  map[Node]*answer
	hints    map[Node]*hint
	latest   int    // complete answers so far
	somebody int    // the latest of them that lists a node that may be another, as judge knows
	removed  int    // the latest of them that lists a node that was removed since
	failing  bool   // the source has failed since it last answered well
	broken   bool   // it has failed since it last said anything
	ended    bool   // Run has returned nil
	polled   bool   // the strategy asks again, and soon after an answer of nobody
	retired  bool   // the topology is gone; what lingers still runs out
	dropped  []Node // that the source is known not to want any more; the core takes them
}

type answer struct {
	want   Want
	listed int       // the latest complete answer that lists it
	since  time.Time // while lingering: when the clock began; zero if it is stopped
	missed int       // the complete answer with which it began
	orphan bool      // lingering, and was wanted: dialled until an answer lists somebody
}

type hint struct {
	heard    time.Time
	answered bool // the source has answered well without it since
}

func newWants(topology string) *wants {
	return &wants{topology: topology, answers: map[Node]*answer{}, hints: map[Node]*hint{}}
}

// apply takes a change that a roster reports.
func (w *wants) apply(now time.Time, c Change) {
	switch c.Kind {
	case Replaced:
		w.replace(now, c.Nodes, c.Keep)
	case Added:
		w.add(now, c.Nodes)
	case Removed:
		for _, n := range c.Nodes {
			if a := w.answers[n]; a != nil {
				w.removed = max(w.removed, a.listed)
			}
			delete(w.answers, n)
			delete(w.hints, n)
			w.dropped = append(w.dropped, n)
		}
	case Failed:
		w.fail()
	}
}

func (w *wants) replace(now time.Time, nodes, keep []Node) {
	listed := make(map[Node]Want, len(nodes)+len(keep))
	for _, n := range keep {
		listed[n] = Kept
	}
	for _, n := range nodes {
		listed[n] = Wanted
	}
	w.latest++
	for n, a := range w.answers {
		if listed[n] == 0 {
			a.missing(now, w.latest)
		}
	}
	for n, want := range listed {
		w.answers[n] = &answer{want: want, listed: w.latest}
	}
	w.failing, w.broken = false, false
	w.hear(now, nodes)
}

// missing notes that an answer lacks the node. The clock goes on if it runs.
func (a *answer) missing(now time.Time, latest int) {
	if a.want != Lingering {
		a.want, a.orphan = Lingering, a.want == Wanted
	}
	if a.since.IsZero() {
		a.since, a.missed = now, latest
	}
}

// judge finds the latest answer of somebody: one that lists a node that isn't
// known to be this one. What is known of names changes after the answer.
func (w *wants) judge(leads func(Node) lead) {
	w.somebody = w.removed
	for n, a := range w.answers {
		if a.listed > w.somebody && leads(n) != leadsHere {
			w.somebody = a.listed
		}
	}
}

// add takes hints. Of a source that answers in part and fails in part, only the
// hints themselves count.
func (w *wants) add(now time.Time, nodes []Node) {
	for _, n := range nodes {
		if w.hints[n] == nil {
			w.hints[n] = &hint{}
		}
	}
	if w.broken {
		w.broken = false
		for _, n := range nodes {
			*w.hints[n] = hint{heard: now}
		}
		return
	}
	w.failing = false
	w.hear(now, nodes)
}

// hear notes a good answer with the hints that it confirms.
func (w *wants) hear(now time.Time, nodes []Node) {
	for _, h := range w.hints {
		h.answered = true
	}
	for _, n := range nodes {
		if h := w.hints[n]; h != nil {
			*h = hint{heard: now}
		}
	}
}

// fail stops all clocks: what lingers does so until the next good answer.
func (w *wants) fail() {
	w.failing, w.broken = true, true
	for _, a := range w.answers {
		a.since = time.Time{}
	}
}

// end notes that Run has returned nil.
func (w *wants) end() { w.ended, w.polled = true, false }

// inherit prepares for a new strategy: what the old one wanted stays wanted, and
// what lingered does so without a clock, until the new one's first complete answer.
func (w *wants) inherit() {
	w.fail()
	w.failing, w.broken, w.ended, w.polled = false, false, false, false
	for _, h := range w.hints {
		h.answered = false
	}
}

// retire lets everything run out: the topology is gone.
func (w *wants) retire(now time.Time) {
	w.retired, w.polled = true, false
	for n := range w.hints {
		if w.answers[n] == nil {
			w.answers[n] = &answer{}
		}
	}
	clear(w.hints)
	for _, a := range w.answers {
		a.missing(now, w.latest)
		a.orphan = false
	}
}

// confirmations are how often an answer of nobody has to be given again.
const confirmations = 2

// want says what is wanted of a node; zero is nothing.
func (w *wants) want(n Node) Want {
	a := w.answers[n]
	switch {
	case a != nil && (a.want == Wanted || a.orphan && a.listed >= w.somebody):
		return Wanted
	case w.hints[n] != nil:
		return Hint
	case a != nil:
		return a.want
	default:
		return 0
	}
}

// expire forgets what has been missing for the grace, and the hints that have
// run out. down says since when a node's link is down, and false while it is
// up; unconfirmed, whether the latest answer may be a mistake. It returns when the
// next one is due; zero if none is.
func (w *wants) expire(now time.Time, grace, ttl time.Duration, unconfirmed bool, down func(Node) (time.Time, bool)) (next time.Time) {
	for n, a := range w.answers {
		if a.want != Lingering || a.since.IsZero() {
			continue
		}
		switch at := a.since.Add(grace); {
		case at.After(now):
			next = earlier(next, at)
		case grace > 0 && w.polled && unconfirmed && w.latest < a.missed+confirmations:
			// the next answer, or failure, tells
		default:
			delete(w.answers, n)
			w.dropped = append(w.dropped, n)
		}
	}
	if w.failing || w.ended {
		return next
	}
	for n, h := range w.hints {
		since, isDown := down(n)
		if !h.answered || !isDown {
			continue
		}
		if h.heard.After(since) {
			since = h.heard
		}
		if at := since.Add(ttl); at.After(now) {
			next = earlier(next, at)
		} else {
			delete(w.hints, n)
		}
	}
	return next
}

// unconfirmed reports whether nodes are being given up for an answer that may be
// one of nobody: none that it lists is known to be another. A name that is new is
// looked at only after that.
func (w *wants) unconfirmed(leads func(Node) lead) bool {
	lingers, somebody := false, w.removed == w.latest
	for n, a := range w.answers {
		lingers = lingers || !a.since.IsZero()
		somebody = somebody || a.listed == w.latest && leads(n) == leadsElsewhere
	}
	return lingers && !somebody
}

// later is the later of two times.
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
