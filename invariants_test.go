package cluster

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// step steps the core as its loop does, and checks what it says.
func (s *sim) step() {
	if s.steps++; s.steps > 20_000 {
		s.failf("never comes to rest")
	}
	look := entry{at: s.now, kind: didLook, down: s.down(), leads: maps.Clone(s.leads)}
	for _, top := range s.topologies {
		top.history = top.history.look(look)
	}
	for n := range s.failed {
		if t := s.core.targets[n]; t == nil || t.up {
			delete(s.failed, n)
		}
	}
	fx := s.core.step(s.now)
	s.wake = fx.wake
	s.learn()
	s.show(fx.events)
	s.checkWants()
	s.checkCuts(fx.cuts)
	s.checkDials(fx)
	if fx.list != nil {
		if s.asked != nil {
			s.failf("asks for the links twice at once")
		}
		s.asked = &simListing{*fx.list, s.reports}
	}
	s.checkLinks()
	s.checkProgress()
	if again := s.core.step(s.now); len(again.dials)+len(again.cuts)+len(again.cancels)+len(again.events) > 0 || again.list != nil {
		s.failf("a second step at the same time does something: %+v", again)
	}
}

// down is since when the core takes targets for down.
func (s *sim) down() map[Node]time.Time {
	down := map[Node]time.Time{}
	for _, n := range s.universe {
		if t := s.core.targets[n]; t == nil {
			down[n] = time.Time{}
		} else if !t.up {
			down[n] = t.changed
		}
	}
	return down
}

// learn notes what links tell of where nodes lead, and forgets what the core does.
func (s *sim) learn() {
	for _, n := range s.universe {
		switch t := s.core.targets[n]; {
		case t == nil:
			delete(s.leads, n)
		case t.up:
			s.leads[n] = leadsElsewhere
		}
	}
}

// show replays events: they must tell each link once, and how it went.
func (s *sim) show(events []Event) {
	for _, e := range events {
		s.tracef("event %T%+v", e, e)
		switch e := e.(type) {
		case NodeConnected:
			if s.shown[e.Node] || e.Node == simSelf {
				s.failf("%+v of what is linked already, or itself", e)
			}
			s.shown[e.Node] = true
		case NodeDisconnected:
			if !s.shown[e.Node] || e.Cause == nil {
				s.failf("%+v of what wasn't linked, or without a cause", e)
			}
			delete(s.shown, e.Node)
		case ConnectFailed:
			if e.Attempt < 1 || e.Err == nil || errors.Is(e.Err, transport.ErrSelf) {
				s.failf("%+v without an attempt or an error, or itself", e)
			}
		}
	}
}

// checkWants compares what each topology wants with what its history says.
func (s *sim) checkWants() {
	clear(s.wants)
	for _, top := range s.topologies {
		lingers := false
		for _, n := range s.universe {
			want, since := top.history.want(n, s.core.removeGrace, s.core.hintTTL, s.leads)
			lingers = lingers || !since.IsZero()
			var clock time.Time
			if a := top.wants.answers[n]; a != nil {
				clock = a.since
			}
			if got := top.wants.want(n); got != want || !clock.Equal(since) {
				s.failf("%s: %s is %s since %s, but the history says %s since %s", top.wants.topology, n, got, clock, want, since)
			}
			if want != 0 {
				s.wants[n] = append(s.wants[n], want)
			}
		}
		if got, want := top.wants.unconfirmed(s.core.leads), lingers && top.history.nobody(s.leads); got != want {
			s.failf("%s: takes its answer for unconfirmed: %v, but the history says %v", top.wants.topology, got, want)
		}
	}
}

// wanted reports whether a topology wants anything of a node, if only that it
// isn't cut.
func (s *sim) wanted(n Node) bool { return len(s.wants[n]) > 0 }

// dialled reports whether a topology wants a node dialled.
func (s *sim) dialled(n Node) bool { return slices.ContainsFunc(s.wants[n], Want.dials) }

// claims returns the name by which a topology wants a link, as far as the core
// can know.
func (s *sim) claims(x Node) Node {
	for _, n := range s.universe {
		if s.wanted(n) && (n == x || slices.Contains(s.stands[n], x)) {
			return n
		}
	}
	return ""
}

func (s *sim) checkCuts(cuts []Node) {
	for _, x := range cuts {
		s.tracef("cuts %s", x)
		if n := s.claims(x); n != "" {
			s.failf("cuts %s, which is wanted as %s", x, n)
		}
		if s.cuts[x] || s.dials[x] != nil || s.told[x] == 0 {
			s.failf("cuts %s, which is being cut or dialled, or isn't linked", x)
		}
		if !s.everWanted(x) {
			s.failf("cuts %s, which no topology ever wanted", x)
		}
		s.cuts[x] = true
	}
}

// everWanted reports whether a topology has ever named a link.
func (s *sim) everWanted(x Node) bool {
	for _, top := range s.topologies {
		for _, n := range s.universe {
			named := func(e *entry) bool { return e.has(n) || e.lists(n) }
			if s.stood(n, x) && top.history.any(named) {
				return true
			}
		}
	}
	return false
}

func (s *sim) checkDials(fx effects) {
	for _, n := range fx.cancels {
		s.tracef("cancels %s", n)
		if s.dialled(n) || s.dials[n] == nil || s.dials[n].cancelled {
			s.failf("cancels %s, which is wanted, not dialled, or cancelled already", n)
			continue
		}
		delete(s.failed, n)
		s.dials[n].cancelled = true
	}
	retries := 0
	for _, n := range fx.dials {
		s.tracef("dials %s", n)
		if s.dials[n] != nil || !s.dialled(n) || n == simSelf || s.cuts[n] {
			s.failf("dials %s, which is dialled or cut already, not wanted, or itself", n)
		}
		if s.failed[n] && !s.core.targets[n].retry {
			s.failf("dials %s again, and takes it for the first time", n)
		}
		s.dials[n] = &simDial{}
	}
	for n := range s.dials {
		if s.core.targets[n].retry {
			retries++
		}
	}
	if len(s.dials) > s.core.maxConnects || retries > s.core.maxConnects/2 {
		s.failf("%d attempts under way, %d of them retries; the most are %d and half of that", len(s.dials), retries, s.core.maxConnects)
	}
}

// checkLinks compares the links that the core knows, and has told, with what it
// has been told.
func (s *sim) checkLinks() {
	told := slices.Sorted(maps.Keys(s.told))
	if known := slices.Sorted(maps.Keys(s.core.links)); !slices.Equal(known, told) {
		s.failf("knows of the links %v, but was told %v", known, told)
	}
	if shown := slices.Sorted(maps.Keys(s.shown)); !slices.Equal(shown, told) {
		s.failf("its events tell the links %v, but it was told %v", shown, told)
	}
	for _, n := range s.universe {
		if t := s.core.targets[n]; t != nil && !s.core.aliases && t.up != (s.told[n] > 0) {
			s.failf("takes %s for linked: %v", n, t.up)
		}
	}
}

// checkProgress checks that whatever has to be done is under way, is planned, or
// waits for a slot.
func (s *sim) checkProgress() {
	if s.asked == nil && (s.wake.IsZero() || s.wake.After(s.now.Add(s.core.reconcileInterval))) {
		s.failf("doesn't ask for the links again: wakes at %s", s.wake)
	}
	retries := s.core.retrying >= s.core.maxConnects/2
	for _, n := range s.universe {
		t := s.core.targets[n]
		if !s.dialled(n) {
			delete(s.failed, n) // when it is wanted again, it is new
		}
		if !s.dialled(n) || len(s.canonical(n)) == 0 || t != nil && t.up || s.dials[n] != nil {
			continue
		}
		switch full := len(s.dials) >= s.core.maxConnects; {
		case s.cuts[n]: // the end of that comes first
		case t == nil || t.next.IsZero():
			s.failf("%s is wanted and down, and never dialled", n)
		case t.next.After(s.now.Add(backoffMax)):
			s.failf("%s is not dialled before %s", n, t.next)
		case t.next.After(s.now) && s.wake.After(t.next):
			s.failf("%s is to be dialled at %s, but wakes at %s", n, t.next, s.wake)
		case !t.next.After(s.now) && !full && (!retries || t.attempts == 0):
			s.failf("%s is due, and isn't dialled", n)
		}
	}
}
