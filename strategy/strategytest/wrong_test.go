package strategytest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libcluster-go/cluster"
)

// A probe is a test that may fail.
type probe struct {
	testing.TB

	failure string
}

func (p *probe) Helper() {}

func (p *probe) Logf(string, ...any) {}

func (p *probe) Fatal(args ...any) {
	p.failure = fmt.Sprint(args...)
	runtime.Goexit()
}

func (p *probe) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }

// probing returns how check failed; empty if it didn't.
func probing(t testing.TB, check func(*probe)) string {
	t.Helper()
	p := &probe{TB: t}
	var wait sync.WaitGroup
	wait.Go(func() { check(p) }) // which ends at Fatal
	wait.Wait()
	return p.failure
}

// broken returns the failures of the rules that a strategy of h breaks, by rule.
func broken(t *testing.T, h Harness) map[string]string {
	t.Helper()
	h, err := h.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	failures := map[string]string{}
	for _, r := range rules() {
		if r.skip(h.Cannot) != "" {
			continue
		}
		for _, fault := range []string{"refuses", "hangs"} {
			if !r.faulty && fault == "hangs" {
				continue
			}
			h.run(t, func(t testing.TB) {
				failure := probing(t, func(p *probe) { r.check(newStage(p, h, fault)) })
				if failure != "" {
					failures[r.name] = failure
				}
			})
		}
	}
	return failures
}

// except returns the names of all rules but these.
func except(names ...string) (others []string) {
	for _, r := range rules() {
		if !slices.Contains(names, r.name) {
			others = append(others, r.name)
		}
	}
	return others
}

// TestWrong has the suite catch strategies that are wrong on purpose, each by
// just the rules that it breaks.
func TestWrong(t *testing.T) {
	const (
		first   = "the first answer is whole"
		changes = "a change is told"
		nobody  = "nobody at first is an answer"
		emptied = "nobody any more is an answer"
		listed  = "this node may be listed"
		alone   = "nobody but this node is an answer"
		twice   = "a node listed twice is one"
		fault   = "a fault is a Fail and no answer"
		start   = "a fault at the start is a Fail and no answer"
		mended  = "a mended source is heard again"
		returns = "Run returns when it should"
		before  = "a cancel before Run ends it"
		atOnce  = "a cancel at once ends Run"
		lookup  = "a cancel in the first lookup ends Run"
		after   = "a cancel after the first answer ends Run"
		moment  = "a cancel at any moment ends Run"
		inFault = "a cancel in a fault ends Run"
		again   = "Run can be called again"
		two     = "two Runs at once go their own ways"
	)
	cancels := []string{before, atOnce, lookup, after, moment, inFault}
	unheard := []string{before, atOnce, moment} // which need no answer
	for name, tt := range map[string]struct {
		harness Harness
		breaks  []string
		says    string // in each failure
	}{
		"nothing is wrong":                  {harness(telling(right)), nil, ""},
		"a fault is an answer of nobody":    {harness(telling(replacesOnFault)), []string{fault, start, mended}, "Replace([])"},
		"a fault is nobody and a Fail":      {harness(telling(replacesAndFails)), []string{fault, start}, "Replace([])"},
		"a fault removes":                   {harness(stateful(removesOnFault)), []string{fault}, "Remove("},
		"a fault is a hint of nobody":       {harness(telling(hintsOnFault)), []string{fault, start}, "Add([])"},
		"a fault is the last answer":        {harness(stateful(repeatsOnFault)), []string{fault}, "Replace("},
		"a long fault is nobody in the end": {harness(stateful(givesUp)), []string{fault, start}, "Replace([])"},
		"a fault at the start is nobody":    {harness(stateful(nobodyAtStart)), []string{start}, "Replace([])"},
		"a fault is swallowed":              {harness(telling(swallows)), []string{fault, start, mended}, "no Fail"},
		"a second fault is swallowed":       {harness(stateful(failsOnce)), []string{mended}, "no Fail"},
		"a fault is the end of lookups":     {harness(neverRecovers), []string{start, mended}, "no answer"},
		"a fault is the end of Run":         {harness(endsOnFault), []string{fault, start, mended}, "Run has returned"},
		"a fault panics":                    {harness(telling(panicsOnFault)), []string{fault, start, mended, inFault}, "panicked: on purpose"},
		"the same answer isn't told again":  {harness(stateful(tellsNews)), []string{mended}, "no answer"},
		"changes are ignored":               {harness(stateful(ignoresChanges)), []string{changes, emptied, mended, again, two}, "no answer"},
		"who leaves is ignored":             {harness(stateful(onlyGrows)), []string{changes, emptied, mended, again}, "no answer"},
		"who leaves is kept":                {harness(stateful(keepsAll)), []string{changes, emptied, mended, again}, "only to be kept"},
		"who stays is removed":              {harness(stateful(removesAll)), []string{changes}, "all the time"},
		"nobody is ignored":                 {harness(telling(dropsEmpty)), []string{nobody, emptied}, "no answer []"},
		"a part passes for the whole":       {harness(telling(replacesParts)), []string{first, listed, twice, start, mended, again, two}, "but the source says"},
		"nodes are made up":                 {harness(telling(makesUp)), except(unheard...), "never said"},
		"this node is a mistake":            {harness(telling(failsOnSelf)), []string{listed, alone}, "no answer"},
		"twice is a mistake":                {harness(telling(failsOnTwice)), []string{twice}, "no answer"},
		"what is well fails now and then":   {harness(telling(failsAnyway)), []string{first, nobody, listed, alone, twice}, "the source is well"},
		"a cancel is ignored":               {harness(ignoresCancel), cancels, "has not returned"},
		"a cancel is ignored in a lookup":   {harness(looksUpToTheEnd), []string{before, atOnce, lookup, moment, inFault}, "has not returned"},
		"a cancel is an answer of nobody":   {harness(replacesAtTheEnd), cancels, "Replace([])"},
		"a cancel removes":                  {harness(removesAtTheEnd), cancels, "Remove("},
		"a goroutine is left":               {harness(leaks), cancels, "left goroutines"},
		"a timer leaves a goroutine":        {harness(timerLeaks), cancels, "left goroutines"},
		"a goroutine of a timer leaves one": {harness(timerStarts), cancels, "left goroutines"},
		"a cancel leaves a goroutine":       {harness(contextLeaks), cancels, "left goroutines"},
		"Run remembers the last Run":        {harness(remembers), []string{again, two}, "no answer"},
		"Runs share the roster":             {harness(sharesRoster), []string{two}, "no answer"},
		"Runs share the end":                {harness(sharesEnd), []string{two}, "Run has returned"},
		"the first answer is the end":       {harness(returnsEarly), []string{changes, emptied, fault, mended, returns, again, two}, "Run has returned"},
		"it panics":                         {harness(panics), except(), "panicked: on purpose"},
		"it is not valid":                   {harness(func(*fake) cluster.Strategy { return invalid{} }), except(), "Validate refuses"},
		"hints replace":                     {hints(telling(right)), except(unheard...), "no answer"},
		"hints replace too":                 {hints(telling(replacesAndHints)), except(unheard...), "the source gives hints"},
		"hints ignore changes":              {hints(stateful(ignoresNewHints)), []string{changes, emptied, mended, again, two}, "no answer"},
		"hints swallow a fault":             {hints(telling(hintsAlways)), []string{fault, start, mended}, "no Fail"},
		"it ends never":                     {ending(neverEnds), []string{returns}, "has not returned nil"},
		"it ends and leaves a goroutine":    {ending(endsAndLeaks), []string{returns, before, atOnce, lookup, after, moment}, "left goroutines"},
	} {
		t.Run(name, func(t *testing.T) {
			got := broken(t, tt.harness)
			for _, r := range rules() {
				want := slices.Contains(tt.breaks, r.name)
				failure, fails := got[r.name]
				switch {
				case fails && !want:
					t.Errorf("it breaks %q: %s", r.name, failure)
				case !fails && want:
					t.Errorf("it doesn't break %q", r.name)
				case fails && !strings.Contains(failure, tt.says):
					t.Errorf("it breaks %q: %s; want %q in that", r.name, failure, tt.says)
				}
			}
		})
	}
}

func hints(strategy func(*fake) cluster.Strategy) Harness {
	h := harness(strategy)
	h.Hints = true
	return h
}

// TestWrongInRealTime has the suite catch outside of bubbles what only time and
// goroutine profiles can tell. Some of it can't be told where others run beside.
func TestWrongInRealTime(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy func(*fake) cluster.Strategy
		parallel bool
		says     string // empty: it is right
	}{
		"nothing is wrong":                  {telling(right), false, ""},
		"nothing is wrong beside others":    {telling(right), true, ""},
		"a cancel is ignored":               {ignoresCancel, true, "has not returned"},
		"a goroutine is left":               {leaks, true, "strategytest.leaks"},
		"a cancel leaves a goroutine":       {contextLeaks, true, "strategytest.contextLeaks"},
		"a timer leaves a goroutine":        {timerLeaks, false, "strategytest.timerLeaks"},
		"a goroutine of a timer leaves one": {timerStarts, false, "strategytest.timerStarts"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.parallel {
				t.Parallel()
			}
			h, err := harness(tt.strategy).withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			h.Bubble, h.Parallel = false, tt.parallel
			failure := probing(t, func(p *probe) { cancelAfterAnswer(newStage(p, h, "")) })
			if (failure == "") != (tt.says == "") || !strings.Contains(failure, tt.says) {
				t.Errorf("the suite says %q, want %q in that", failure, tt.says)
			}
		})
	}
}
