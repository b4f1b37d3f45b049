package strategytest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
)

// A rule is one statement of the contract, and how it is checked.
type rule struct {
	name   string
	needs  func(Cannot) []string // why it may not apply; nil: it always does
	faulty bool                  // it is checked for each fault
	check  func(*stage)
}

func rules() []rule {
	change := func(c Cannot) []string { return []string{c.Change} }
	empty := func(c Cannot) []string { return []string{c.Empty} }
	emptied := func(c Cannot) []string { return []string{c.Empty, c.Change} }
	self := func(c Cannot) []string { return []string{c.Self} }
	alone := func(c Cannot) []string { return []string{c.Self, c.Empty} }
	repeat := func(c Cannot) []string { return []string{c.Repeat} }
	fail := func(c Cannot) []string { return []string{c.Fail} }
	return []rule{
		{"the first answer is whole", nil, false, firstAnswer},
		{"a change is told", change, false, changeIsTold},
		{"nobody at first is an answer", empty, false, nobodyAtFirst},
		{"nobody any more is an answer", emptied, false, nobodyAnyMore},
		{"this node may be listed", self, false, selfListed},
		{"nobody but this node is an answer", alone, false, selfAlone},
		{"a node listed twice is one", repeat, false, listedTwice},
		{"a fault is a Fail and no answer", fail, true, faultFails},
		{"a fault at the start is a Fail and no answer", fail, true, faultAtStartFails},
		{"a mended source is heard again", fail, true, mendedIsHeard},
		{"Run returns when it should", nil, false, returnsWhenItShould},
		{"a cancel before Run ends it", nil, false, cancelBefore},
		{"a cancel at once ends Run", nil, false, cancelAtOnce},
		{"a cancel in the first lookup ends Run", nil, false, cancelInFirstLookup},
		{"a cancel after the first answer ends Run", nil, false, cancelAfterAnswer},
		{"a cancel at any moment ends Run", nil, false, cancelAnyMoment},
		{"a cancel in a fault ends Run", fail, true, cancelInFault},
		{"Run can be called again", nil, false, runAgain},
		{"two Runs at once go their own ways", nil, false, runTwoAtOnce},
	}
}

// skip says why the rule doesn't apply; empty if it does.
func (r rule) skip(c Cannot) string {
	if r.needs == nil {
		return ""
	}
	for _, why := range r.needs(c) {
		if why != "" {
			return why
		}
	}
	return ""
}

func firstAnswer(s *stage)   { s.answers(s.a, s.b) }
func nobodyAtFirst(s *stage) { s.answers() }

// The roster leaves this node out, and each but once: a strategy has nothing to
// do for that, and may not fail or fall silent.
func selfListed(s *stage)  { s.answers(s.self, s.a) }
func selfAlone(s *stage)   { s.answers(s.self) }
func listedTwice(s *stage) { s.answers(s.b, s.a, s.b, s.b) }

// changeIsTold has one node stay, one leave and one come, one after the other
// and both at once.
func changeIsTold(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	for _, now := range [][]cluster.Node{{s.a, s.b, s.c}, {s.a, s.b}, {s.a, s.c}} {
		s.changesTo(now, r)
	}
	told, _ := r.since(0)
	for _, c := range told {
		if c.Kind == cluster.Removed && slices.Contains(c.Nodes, s.a) {
			s.t.Fatalf("the strategy has told %s, but the source has listed %s all the time", describe([]cluster.Change{c}), s.a)
		}
	}
}

func nobodyAnyMore(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	for _, now := range [][]cluster.Node{nil, {s.b, s.c}} {
		s.changesTo(now, r)
	}
}

func faultFails(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	s.failsOnly(r, s.breakDown(r))
}

func faultAtStartFails(s *stage) {
	s.open(s.a, s.b)
	s.source.Faults[s.fault].Break()
	r := s.start()
	s.failsOnly(r, breakage{})
	s.mended(r)
}

// mendedIsHeard has the source break twice, and change after that.
func mendedIsHeard(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	for range 2 {
		broken := s.breakDown(r)
		s.await(r, broken.from, "Fail", func(told []cluster.Change) bool { return slices.ContainsFunc(told, isFailure) })
		s.mended(r)
	}
	if s.canChange() {
		s.changesTo([]cluster.Node{s.a, s.c}, r)
	}
}

// mended mends the source and waits for its answer. That must come even if it
// is the same as before: what was unreachable is known to be well only by that.
func (s *stage) mended(r *run) {
	s.t.Helper()
	mark := r.mark()
	s.source.Faults[s.fault].Mend()
	s.answeredWhole(r, mark)
}

// returnsWhenItShould is at the first answer if the harness says so, else only
// when it is cancelled.
func returnsWhenItShould(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	if !s.h.Ends {
		if s.pause(r, s.h.Quiet) {
			s.t.Fatalf("%s after its first answer, though its context isn't done", s.ending(r))
		}
		return
	}
	if !s.pause(r, s.h.Within) {
		s.t.Fatalf("Run has not returned nil for %s after its answer", s.h.Within)
	}
	if r.panicked != nil {
		s.t.Fatal(r.panicked)
	}
	s.leavesNone(r, "after its answer", time.Now().Add(endsWithin))
}

func cancelBefore(s *stage) {
	s.open(s.a, s.b)
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	s.ends(s.startIn(ctx), "before it was called")
}

func cancelAtOnce(s *stage) {
	s.open(s.a, s.b)
	for range 10 {
		s.ends(s.start(), "at once")
	}
}

// cancelInFirstLookup finds out how long the first answer takes and cancels at
// moments that are spread evenly over that.
func cancelInFirstLookup(s *stage) {
	s.open(s.a, s.b)
	began := time.Now()
	r := s.start()
	s.answered(r, 0)
	lookup := min(time.Since(began), time.Second) // a long one is not worth waiting for ten times
	s.ends(r, "after the first answer")
	const moments = 10
	for i := range moments {
		after := lookup * time.Duration(i) / moments
		r := s.start()
		s.pause(r, after)
		s.ends(r, fmt.Sprintf("%s after the start of a first lookup", after))
	}
}

func cancelAfterAnswer(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	s.ends(r, "after the first answer")
}

// cancelAnyMoment cancels at random, sometimes in a change.
func cancelAnyMoment(s *stage) {
	s.open(s.a, s.b)
	for i := range 20 {
		after := rand.N(s.h.Quiet)
		r := s.start()
		s.pause(r, after)
		if i%2 == 1 && s.canChange() {
			s.set(s.a, []cluster.Node{s.b, s.c}[i/2%2])
		}
		s.ends(r, fmt.Sprintf("%s after the start", after))
	}
}

// cancelInFault cancels at random after a source broke, and after a start on a
// broken one.
func cancelInFault(s *stage) {
	s.open(s.a, s.b)
	r := s.start()
	s.answered(r, 0)
	s.breakDown(r)
	for range 5 {
		after := rand.N(2 * s.h.Quiet)
		s.pause(r, after)
		s.ends(r, fmt.Sprintf("%s after the source broke, or after a start then", after))
		r = s.start()
	}
}

func runAgain(s *stage) {
	s.open(s.a, s.b)
	for i := range 3 {
		r := s.start()
		s.answeredWhole(r, 0)
		if s.canChange() {
			s.changesTo([]cluster.Node{s.a, []cluster.Node{s.c, s.b}[i%2]}, r)
		}
		s.stop(r)
	}
}

// runTwoAtOnce runs one value twice, and has the second go on when the first is
// cancelled.
func runTwoAtOnce(s *stage) {
	s.open(s.a)
	first, second := s.start(), s.start()
	s.answeredWhole(first, 0)
	s.answeredWhole(second, 0)
	if s.canChange() {
		s.changesTo([]cluster.Node{s.a, s.b}, first, second)
	}
	s.stop(first)
	if s.canChange() {
		s.changesTo([]cluster.Node{s.a, s.b, s.c}, second)
	}
}
