package cluster

import (
	"cmp"
	"slices"
	"time"
)

const (
	// flapTime is how long a link must live for its loss to be no failure.
	flapTime = time.Second
	// departedPause is the first wait before a node is dialled that left.
	departedPause = time.Second
	// recheckInterval is how often a name is looked at again that may stand
	// for other addresses by now, and a node that has led back to this one.
	recheckInterval = 30 * time.Second
)

// A core is what is known of one transport and its topologies. It is pure: it
// has no clock, no goroutine and no lock, is told what happens and when, and
// says by step what is to be done.
//
// It knows two kinds of names. Targets are nodes as the topologies name them,
// links are nodes as the transport lists them; a target's canon says which links
// it stands for: itself, unless the transport knows nodes by several names.
type core struct {
	removeGrace       time.Duration
	hintTTL           time.Duration
	reconcileInterval time.Duration
	maxConnects       int
	aliases           bool           // the transport is a Canonicalizer
	random            func() float64 // in [0,1)

	wants   []*wants // in the order of the topologies
	targets map[Node]*target
	links   map[Node]*link
	cutting map[Node]time.Time // calls of Disconnect under way, and since when

	connecting int // calls of Connect under way
	retrying   int // those of them that aren't a first attempt

	seq          uint64          // counts what ended, so that an older listing doesn't undo it
	newest       uint64          // the latest name or link of which a listing has to tell what belongs to it
	heard        uint64          // the latest listing that was answered
	gone         map[Node]uint64 // links that were cut, and when in seq
	listing      bool
	listAgain    bool // the links have changed since it was begun
	listNext     time.Time
	listErr      error
	listFailures int       // since it was last answered
	diverged     *Diverged // that was told and isn't over

	events []Event // for step to hand over
}

type target struct {
	node       Node
	canon      []Node
	dials      bool // a topology wants it dialled
	up         bool // canon isn't empty
	changed    time.Time
	connecting bool
	retry      bool
	cancelled  bool
	self       bool      // the latest attempt led back here
	leads      lead      // as the latest attempt that led anywhere tells, or a link
	began      time.Time // of the attempt under way
	tried      time.Time // since when attempts go on; zero while it is up
	attempts   int       // that the backoff counts
	failures   int       // that were told since it was last up or not wanted
	flaps      int       // links that broke soon after they came up
	unlisted   bool      // its link has just gone without having been listed
	wasUp      bool      // at any time
	dropped    bool      // a source has given it up, not merely stopped to hint at it
	err        error
	next       time.Time // the next attempt; zero is never
}

// A lead is where a node leads: a name may be this node's own. It outlasts
// attempts that lead nowhere, as when a name can't be resolved for a while.
type lead int

const (
	leadsNowhere   lead = iota // as far as is known yet
	leadsHere                  // back to this node alone
	leadsElsewhere             // to another, perhaps to this one too
)

type link struct {
	since    time.Time
	touched  uint64
	topology string // that wants it, or did last
	ours     bool   // a topology has wanted it
	listed   bool   // the transport has listed it
	claimed  bool   // a topology wants it now
	cuts     int    // in vain
	nextCut  time.Time
	failures int  // that were told before it came up
	untold   bool // of a link that is new
}

// effects are what the shell has to do, side by side.
type effects struct {
	dials   []Node
	cancels []Node // attempts
	cuts    []Node
	forgets []Node // that were lost and aren't wanted any more
	list    *listing
	events  []Event // in order
	wake    time.Time
}

// A listing asks the transport which nodes are linked.
type listing struct {
	seq     uint64
	targets []Node
	links   []Node
}

func newCore(o *options, aliases bool, random func() float64) *core {
	return &core{
		removeGrace: o.removeGrace, hintTTL: o.hintTTL, reconcileInterval: o.reconcileInterval, maxConnects: o.maxConnects,
		aliases: aliases, random: random,
		targets: map[Node]*target{}, links: map[Node]*link{}, cutting: map[Node]time.Time{}, gone: map[Node]uint64{},
	}
}

// step brings what is wanted and what is linked together, at a time that never
// runs back. Nothing is done twice: what it returns counts as begun.
func (c *core) step(now time.Time) effects {
	var fx effects
	fx.wake = c.expire(now)
	c.retarget(now, &fx)
	c.claim()
	c.cut(now, &fx)
	c.dial(now, &fx)
	if !c.listing {
		if c.listNext.After(now) {
			fx.wake = earlier(fx.wake, c.listNext)
		} else {
			fx.list = c.list()
		}
	}
	fx.events, c.events = c.events, nil
	return fx
}

// idle reports whether nothing is left to be done, ever.
func (c *core) idle() bool {
	for _, l := range c.links {
		if l.ours {
			return false
		}
	}
	return len(c.wants)+len(c.targets)+len(c.cutting) == 0 && !c.listing
}

// expire forgets what has run out, and returns when the next thing does.
func (c *core) expire(now time.Time) (next time.Time) {
	down := func(n Node) (time.Time, bool) {
		if t := c.targets[n]; t != nil {
			return t.changed, !t.up
		}
		return now, true
	}
	for _, w := range c.wants {
		next = earlier(next, w.expire(now, c.removeGrace, c.hintTTL, w.unconfirmed(c.leads), down))
		for _, n := range w.dropped {
			if t := c.targets[n]; t != nil {
				t.dropped = true
			}
		}
		w.dropped = nil
	}
	c.wants = slices.DeleteFunc(c.wants, func(w *wants) bool { return w.retired && len(w.answers) == 0 })
	return next
}

// retarget makes and forgets targets as the topologies' wants say, and cancels
// attempts that nobody wants any more.
func (c *core) retarget(now time.Time, fx *effects) {
	merged := map[Node]bool{} // whether to dial
	for _, w := range c.wants {
		w.judge(c.leads)
		for n := range w.answers {
			merged[n] = merged[n] || w.want(n).dials()
		}
		for n := range w.hints {
			merged[n] = true
		}
	}
	for n, dials := range merged {
		t := c.targets[n]
		if t == nil {
			t = &target{node: n, changed: now}
			c.targets[n] = t
			c.resolve(t, now)
		}
		if dials && !t.dials && !t.up && !t.connecting {
			t.attempts, t.failures, t.tried, t.next = 0, 0, time.Time{}, now
		}
		t.dials = dials
	}
	for n, t := range c.targets {
		_, held := merged[n]
		t.dials = t.dials && held
		switch {
		case t.connecting && !t.dials && !t.cancelled:
			t.cancelled = true
			fx.cancels = append(fx.cancels, n)
		case !t.connecting && !held:
			delete(c.targets, n)
			if t.dropped && t.wasUp && !t.up {
				fx.forgets = append(fx.forgets, n)
			}
		}
		t.dropped = t.dropped && !held
	}
}

// resolve finds out what a new target stands for, as far as that is known
// without asking the transport, which is asked soon if it may know more.
func (c *core) resolve(t *target, now time.Time) {
	if c.links[t.node] != nil {
		t.canon = []Node{t.node}
		t.up, t.leads = true, leadsElsewhere
		t.next = c.recheck(t, t.changed)
	}
	c.doubt(now)
}

// leads says where a node is known to lead.
func (c *core) leads(n Node) lead {
	if t := c.targets[n]; t != nil {
		return t.leads
	}
	return leadsNowhere
}

// doubt notes that there is a new name or link: by which name a topology wants
// which link is not known until the transport has been asked again.
func (c *core) doubt(now time.Time) {
	if c.aliases {
		c.seq++
		c.newest = c.seq
		c.relist(now)
	}
}

// claim notes which links belong to which topology, the first in order.
func (c *core) claim() {
	for _, l := range c.links {
		l.claimed = false
	}
	for _, w := range slices.Backward(c.wants) {
		for n := range w.answers {
			c.claimTarget(w, n)
		}
		for n := range w.hints {
			c.claimTarget(w, n)
		}
	}
}

func (c *core) claimTarget(w *wants, n Node) {
	t := c.targets[n]
	if t == nil {
		return
	}
	for _, x := range t.canon {
		if l := c.links[x]; l != nil {
			l.claimed, l.ours, l.topology = true, true, w.topology
			l.cuts, l.nextCut = 0, time.Time{}
		}
	}
}

// cut disconnects what a topology once wanted and none does any more, as far as
// that is known.
func (c *core) cut(now time.Time, fx *effects) {
	if c.heard < c.newest {
		return // the next listing tells
	}
	for n, l := range c.links {
		switch {
		case l.claimed || !l.ours || c.cutsNow(n) || c.dialsNow(n):
		case l.nextCut.After(now):
			fx.wake = earlier(fx.wake, l.nextCut)
		default:
			c.cutting[n] = now
			fx.cuts = append(fx.cuts, n)
		}
	}
	slices.Sort(fx.cuts)
}

func (c *core) cutsNow(n Node) bool { return !c.cutting[n].IsZero() }

// dialsNow reports whether an attempt is under way that may be for this link;
// it must end first.
func (c *core) dialsNow(n Node) bool {
	for _, t := range c.targets {
		if t.connecting && (t.node == n || slices.Contains(t.canon, n)) {
			return true
		}
	}
	return false
}

// dial begins the attempts that are due: first ones before retries, which get
// half of the slots, and among each those that have waited longest.
func (c *core) dial(now time.Time, fx *effects) {
	var due []*target
	for _, t := range c.targets {
		switch {
		case !t.dials || t.connecting || t.next.IsZero() || c.cutsNow(t.node) || slices.ContainsFunc(t.canon, c.cutsNow):
		case t.next.After(now):
			fx.wake = earlier(fx.wake, t.next)
		default:
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *target) int {
		return cmp.Or(cmp.Compare(min(a.attempts, 1), min(b.attempts, 1)), a.next.Compare(b.next), cmp.Compare(a.node, b.node))
	})
	for _, t := range due {
		retry := t.attempts > 0
		if c.connecting >= c.maxConnects || retry && c.retrying >= c.maxConnects/2 {
			return // the end of another attempt makes room
		}
		c.connecting++
		if retry {
			c.retrying++
		}
		t.connecting, t.retry, t.cancelled, t.began = true, retry, false, now
		if !t.up && t.tried.IsZero() {
			t.tried = now
		}
		fx.dials = append(fx.dials, t.node)
	}
}

// relist has the transport asked at once: its links have changed.
func (c *core) relist(now time.Time) { c.listAgain, c.listNext = c.listing, now }

func (c *core) list() *listing {
	c.listing = true
	l := &listing{seq: c.seq}
	if c.aliases {
		for n := range c.targets {
			l.targets = append(l.targets, n)
		}
	}
	for n := range c.links {
		l.links = append(l.links, n)
	}
	return l
}
