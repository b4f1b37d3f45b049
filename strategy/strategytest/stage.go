package strategytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// endsWithin is how soon Run must have returned once its context is done.
const endsWithin = time.Second

// A stage is where one check plays: a source, and what it was made to say.
type stage struct {
	t     testing.TB
	h     Harness
	fault string

	self, a, b, c cluster.Node

	source Source
	now    []cluster.Node // what it says: sorted, each once, without this node
	ever   []cluster.Node // what it has ever said
	always []cluster.Node // what it has said all the time
}

func newStage(t testing.TB, h Harness, fault string) *stage {
	t.Helper()
	return &stage{t: t, h: h, fault: fault, self: h.Nodes[0], a: h.Nodes[1], b: h.Nodes[2], c: h.Nodes[3]}
}

// open makes the source, which says nodes.
func (s *stage) open(nodes ...cluster.Node) {
	s.t.Helper()
	s.source = s.h.New(s.t, nodes...)
	s.note(nodes)
	s.always = slices.Clone(s.now)
	if v, ok := s.source.Strategy.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			s.t.Fatalf("Validate refuses the strategy, so that Start would: %v", err)
		}
	}
}

// set makes the source say nodes from now on.
func (s *stage) set(nodes ...cluster.Node) {
	s.t.Helper()
	s.source.Set(nodes...)
	s.note(nodes)
	s.always = slices.DeleteFunc(s.always, func(n cluster.Node) bool { return !slices.Contains(s.now, n) })
}

func (s *stage) note(nodes []cluster.Node) {
	s.now = cleaned(s.self, nodes)
	s.ever = append(s.ever, s.now...)
}

func (s *stage) canChange() bool { return s.h.Cannot.Change == "" }

// start runs the strategy, at most until the check ends.
func (s *stage) start() *run {
	s.t.Helper()
	return s.startIn(s.t.Context())
}

// startIn is start in a context of the check's own.
func (s *stage) startIn(ctx context.Context) *run {
	s.t.Helper()
	var before []goroutine
	if !s.h.Parallel {
		before = alive()
	}
	r := startRun(ctx, s.source.Strategy, s.self, before)
	s.t.Cleanup(func() { s.stop(r) })
	return r
}

// stop ends r. Whether that happens in time is not the concern of every rule.
func (s *stage) stop(r *run) {
	s.t.Helper()
	r.cancel()
	if !s.pause(r, s.h.Within) {
		s.t.Logf("Run has not returned %s after its context was done", s.h.Within)
	}
}

// await waits until what r has told since mark fulfils met.
func (s *stage) await(r *run, mark int, what string, met func([]cluster.Change) bool) {
	s.t.Helper()
	deadline := time.NewTimer(s.h.Within)
	defer deadline.Stop()
	for ended := false; ; {
		told, more := r.since(mark)
		switch {
		case met(told):
			return
		case ended:
			s.t.Fatalf("%s; want %s. It has told: %s", s.ending(r), what, describe(told))
		}
		select {
		case <-more:
		case <-r.done:
			ended = true // one more look at what it told before
		case <-deadline.C:
			s.t.Fatalf("after %s there is no %s. It has told: %s", s.h.Within, what, describe(told))
		}
	}
}

// ending says how r ended.
func (s *stage) ending(r *run) string {
	if r.panicked != nil {
		return r.panicked.Error()
	}
	return "Run has returned"
}

// answered waits until r has told, since mark, what the source says now, and
// checks that it made up no node.
func (s *stage) answered(r *run, mark int) {
	s.t.Helper()
	s.await(r, mark, fmt.Sprintf("answer %q", s.now), s.isAnswer)
	told, _ := r.since(0)
	s.knowsOnly(told)
}

// knowsOnly checks that what was told are nodes that the source has said, as
// the kind of answer that it gives. None is only to be kept: a Source can't say
// so, and who is kept though the source left it out would never be cut.
func (s *stage) knowsOnly(told []cluster.Change) {
	s.t.Helper()
	for _, c := range told {
		for _, n := range slices.Concat(c.Nodes, c.Keep) {
			if !slices.Contains(s.ever, n) {
				s.t.Fatalf("the strategy has told %s, but the source never said %s", describe([]cluster.Change{c}), n)
			}
		}
		if len(c.Keep) > 0 {
			s.t.Fatalf("the strategy has told %s, but the source says nobody who is only to be kept", describe([]cluster.Change{c}))
		}
		if s.h.Hints && c.Kind == cluster.Replaced {
			s.t.Fatalf("the strategy has told %s, but the source gives hints (Harness.Hints)", describe([]cluster.Change{c}))
		}
	}
}

// answeredWhole is answered where the source has said nothing else since mark:
// a part of an answer must not pass for the whole, for that would give up nodes.
func (s *stage) answeredWhole(r *run, mark int) {
	s.t.Helper()
	s.answered(r, mark)
	told, _ := r.since(mark)
	for _, c := range told {
		if c.Kind == cluster.Removed || c.Kind == cluster.Replaced && !slices.Equal(c.Nodes, s.now) {
			s.t.Fatalf("the strategy has told %s, but the source says %q", describe([]cluster.Change{c}), s.now)
		}
	}
}

// answers checks that of a source that says nodes, and is well, the strategy
// tells just that.
func (s *stage) answers(nodes ...cluster.Node) {
	s.t.Helper()
	s.open(nodes...)
	r := s.start()
	s.answeredWhole(r, 0)
	if told, _ := r.since(0); slices.ContainsFunc(told, isFailure) {
		s.t.Fatalf("the source is well, but the strategy has told: %s", describe(told))
	}
}

// changesTo makes the source say nodes and waits until all runs have told so.
// Hints need not be repeated.
func (s *stage) changesTo(nodes []cluster.Node, runs ...*run) {
	s.t.Helper()
	marks := make([]int, len(runs))
	for i, r := range runs {
		if !s.h.Hints || len(nodes) == 0 {
			marks[i] = r.mark()
		}
	}
	s.set(nodes...)
	for i, r := range runs {
		s.answered(r, marks[i])
	}
}

// isAnswer reports whether what was told amounts to what the source says now.
// Hints may come one by one.
func (s *stage) isAnswer(told []cluster.Change) bool {
	var heard []cluster.Node
	nobody := false
	for _, c := range told {
		switch {
		case c.Kind == cluster.Replaced && !s.h.Hints && slices.Equal(c.Nodes, s.now):
			return true
		case c.Kind == cluster.Added:
			heard = append(heard, c.Nodes...)
			nobody = nobody || len(c.Nodes) == 0
		}
	}
	if !s.h.Hints {
		return false
	}
	if len(s.now) == 0 {
		return nobody
	}
	return !slices.ContainsFunc(s.now, func(n cluster.Node) bool { return !slices.Contains(heard, n) })
}

// A breakage is when a source broke: between two marks of a run.
type breakage struct{ from, to int }

// breakDown breaks the source while r runs.
func (s *stage) breakDown(r *run) breakage {
	from := r.mark()
	s.source.Faults[s.fault].Break()
	return breakage{from, r.mark()}
}

// failsOnly waits until r has told of the breakage, and checks that it tells
// nothing else. What it told while the source broke may be an answer still, and
// so may one afterwards, to what was asked before, unless it was broken from the
// start.
func (s *stage) failsOnly(r *run, b breakage) {
	s.t.Helper()
	s.await(r, b.from, "Fail", func(told []cluster.Change) bool { return slices.ContainsFunc(told, isFailure) })
	s.lookOn(r)
	told, _ := r.since(b.from)
	late := b.from > 0
	for i, c := range told {
		before := b.from+i < b.to
		switch {
		case isFailure(c):
			late = late && before
		case c.Kind == cluster.Replaced && (before || late) && slices.Equal(c.Nodes, s.now):
			late = late && before
		case c.Kind == cluster.Added && len(c.Nodes) > 0: // by a part of the source that works
		default:
			s.t.Fatalf("the source can't be asked, but the strategy has told: %s", describe(told))
		}
	}
	s.knowsOnly(told)
}

func isFailure(c cluster.Change) bool { return c.Kind == cluster.Failed }

// lookOn gives the strategy the time to do what it must not.
func (s *stage) lookOn(r *run) {
	s.t.Helper()
	if s.pause(r, s.h.Quiet) && r.panicked != nil {
		s.t.Fatal(r.panicked)
	}
}

// pause waits for a while, or until r has ended, after which panicked may be
// read.
func (s *stage) pause(r *run, d time.Duration) (ended bool) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return false
	case <-r.done:
		return true
	}
}

// ends cancels r and checks that Run returns, that it gives up nobody on its way
// out, and that none of its goroutines is left.
func (s *stage) ends(r *run, when string) {
	s.t.Helper()
	deadline := time.Now().Add(endsWithin)
	r.cancel()
	if !s.pause(r, endsWithin) {
		s.t.Fatalf("cancelled %s, Run has not returned for %s:\n%s", when, endsWithin, strings.Join(r.goroutines(), "\n\n"))
	}
	if r.panicked != nil {
		s.t.Fatalf("cancelled %s: %v", when, r.panicked)
	}
	s.givesUpNobody(r, when)
	s.leavesNone(r, "cancelled "+when, deadline)
}

// givesUpNobody checks that what r told after it was cancelled cuts no node that
// the source has said all the time: a lookup that was broken off is no answer.
// One that was over may still be told.
func (s *stage) givesUpNobody(r *run, when string) {
	s.t.Helper()
	for _, c := range r.afterCancel() {
		for _, n := range s.always {
			listed := slices.Contains(c.Nodes, n)
			if c.Kind == cluster.Replaced && !listed || c.Kind == cluster.Removed && listed {
				s.t.Fatalf("cancelled %s, the strategy has still told %s, but the source has said %s all the time", when, describe([]cluster.Change{c}), n)
			}
		}
	}
}

// leavesNone checks that no goroutine is left at the deadline. Nothing tells
// when a goroutine has ended, so that this is asked again and again.
func (s *stage) leavesNone(r *run, why string, deadline time.Time) {
	s.t.Helper()
	for wait := time.Millisecond; ; wait *= 2 {
		time.Sleep(wait) // first of all: a timer may be about to start one
		left := r.goroutines()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s, Run has returned, but left goroutines:\n%s", why, strings.Join(left, "\n\n"))
		}
	}
}

// describe prints changes, at most the last ten; the same ones in a row count
// as one.
func describe(changes []cluster.Change) string {
	var lines []string
	times := 0
	for _, c := range changes {
		line := fmt.Sprintf("%s(%q)", c.Kind, c.Nodes)
		switch {
		case c.Kind == cluster.Failed:
			line = fmt.Sprintf("%s(%v)", c.Kind, c.Err)
		case len(c.Keep) > 0:
			line = fmt.Sprintf("%s(%q, keep %q)", c.Kind, c.Nodes, c.Keep)
		}
		last := len(lines) - 1
		if last < 0 || strings.TrimSuffix(lines[last], fmt.Sprintf(" %d times", times)) != line {
			lines, times = append(lines, line), 1
			continue
		}
		times++
		lines[last] = fmt.Sprintf("%s %d times", line, times)
	}
	switch n := len(lines) - 10; {
	case len(lines) == 0:
		return "nothing"
	case n > 0:
		return fmt.Sprintf("%d more, ", n) + strings.Join(lines[n:], ", ")
	default:
		return strings.Join(lines, ", ")
	}
}
