package strategytest

import (
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
)

// The tests that go side by side wait rather than work, so there are more of them
// than processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// interval is that of the strategies here. It is less than Harness.Quiet.
const interval = 10 * time.Millisecond

// A fake is a source in memory, which can be asked and tells of changes.
type fake struct {
	mu      sync.Mutex
	nodes   []cluster.Node
	err     error
	hangs   bool
	changed chan struct{} // closed at the next change
	over    chan struct{} // closed when the test ends
}

var errBroken = errors.New("the source is broken")

func newFake(t testing.TB, nodes []cluster.Node) *fake {
	t.Helper()
	f := &fake{nodes: nodes, changed: make(chan struct{}), over: make(chan struct{})}
	t.Cleanup(func() { close(f.over) })
	return f
}

func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) set(nodes ...cluster.Node) { f.change(func() { f.nodes = nodes }) }

func (f *fake) faults() map[string]Fault {
	mend := func() { f.change(func() { f.err, f.hangs = nil, false }) }
	return map[string]Fault{
		"refuses": {Break: func() { f.change(func() { f.err = errBroken }) }, Mend: mend},
		"hangs":   {Break: func() { f.change(func() { f.hangs = true }) }, Mend: mend},
	}
}

// watch returns what the source says, and what is closed when that changes.
func (f *fake) watch() (nodes []cluster.Node, hangs bool, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes, f.hangs, f.changed, f.err
}

// lookup takes a while, in which it may be cancelled.
func (f *fake) lookup(ctx context.Context) ([]cluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	wait := time.NewTimer(interval / 4)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	nodes, hangs, _, err := f.watch()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// harness is one for a strategy that asks a fake.
func harness(strategy func(*fake) cluster.Strategy) Harness {
	return Harness{
		Bubble: true,
		New: func(t testing.TB, nodes ...cluster.Node) Source {
			f := newFake(t, nodes)
			return Source{Strategy: strategy(f), Set: f.set, Faults: f.faults()}
		},
	}
}

// A run func is a strategy.
type runFunc func(ctx context.Context, r *cluster.Roster) error

func (f runFunc) Run(ctx context.Context, r *cluster.Roster) error { return f(ctx, r) }

// polling makes a strategy that asks and tells, until that returns an error.
func polling(f *fake, tell func(r *cluster.Roster, nodes []cluster.Node, err error) error) runFunc {
	return func(ctx context.Context, r *cluster.Roster) error {
		for {
			nodes, err := f.lookup(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := tell(r, nodes, err); err != nil {
				return err
			}
			if !sleep(ctx, interval) {
				return nil
			}
		}
	}
}

// telling makes a strategy that asks and tells.
func telling(tell func(*cluster.Roster, []cluster.Node, error)) func(*fake) cluster.Strategy {
	return func(f *fake) cluster.Strategy {
		return polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
			tell(r, nodes, err)
			return nil
		})
	}
}

// sleep reports whether ctx wasn't done meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// right tells what there is to tell.
func right(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		r.Fail(err)
		return
	}
	r.Replace(nodes)
}

// TestRight has strategies of all kinds that keep the contract pass.
func TestRight(t *testing.T) {
	t.Run("polls", func(t *testing.T) {
		Test(t, harness(func(f *fake) cluster.Strategy { return cluster.Poll(interval, f.lookup) }))
	})
	t.Run("returns its errors", func(t *testing.T) {
		Test(t, harness(func(f *fake) cluster.Strategy {
			return polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
				if err != nil {
					return err
				}
				r.Replace(nodes)
				return nil
			})
		}))
	})
	t.Run("watches", func(t *testing.T) {
		Test(t, harness(watching(right)))
	})
	t.Run("gives hints", func(t *testing.T) {
		h := harness(watching(func(r *cluster.Roster, nodes []cluster.Node, err error) {
			for _, n := range nodes {
				r.Add(n)
			}
			r.Fail(err)
		}))
		h.Hints = true
		h.Cannot.Empty = "who isn't there doesn't say so"
		h.Nodes = []cluster.Node{"d@[::1]:4", "c@h:3", "b@h:2", "a@h:1"}
		Test(t, h)
	})
	t.Run("gives answers that are hints", func(t *testing.T) {
		h := harness(telling(hinting))
		h.Hints = true
		Test(t, h)
	})
	t.Run("ends", func(t *testing.T) { Test(t, ending(answering)) })
}

// watching makes a strategy that tells what its source says, once, and
// whenever that changes.
func watching(tell func(r *cluster.Roster, nodes []cluster.Node, err error)) func(*fake) cluster.Strategy {
	return func(f *fake) cluster.Strategy {
		return runFunc(func(ctx context.Context, r *cluster.Roster) error {
			for {
				nodes, hangs, changed, err := f.watch()
				switch {
				case hangs && !sleep(ctx, interval):
					return nil
				case hangs:
					tell(r, nil, context.DeadlineExceeded)
				case err != nil:
					tell(r, nil, err)
				default:
					tell(r, nodes, nil)
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
}

func hinting(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		r.Fail(err)
		return
	}
	r.Add(nodes...)
}

// ending is a harness for strategies that end.
func ending(strategy func(*fake) cluster.Strategy) Harness {
	return Harness{
		Bubble: true, Ends: true,
		Cannot: Cannot{Change: "it is fixed", Fail: "it is always there"},
		New: func(t testing.TB, nodes ...cluster.Node) Source {
			return Source{Strategy: strategy(newFake(t, nodes))}
		},
	}
}

func answering(f *fake) cluster.Strategy {
	return runFunc(func(_ context.Context, r *cluster.Roster) error {
		r.Replace(f.nodes)
		return nil
	})
}

// TestHarness has mistakes in a harness be named.
func TestHarness(t *testing.T) {
	source := func(change func(*Source)) Source {
		s := Source{
			Strategy: cluster.Poll(interval, nil),
			Set:      func(...cluster.Node) {},
			Faults:   map[string]Fault{"gone": {Break: func() {}, Mend: func() {}}},
		}
		change(&s)
		return s
	}
	fresh := func(testing.TB, ...cluster.Node) Source { return Source{} }
	for name, tt := range map[string]struct {
		harness Harness
		source  Source
		says    string // empty: all is well
	}{
		"complete":                {Harness{New: fresh}, source(func(*Source) {}), ""},
		"no New":                  {Harness{}, Source{}, "Harness.New"},
		"three nodes":             {Harness{New: fresh, Nodes: []cluster.Node{"a:1", "b:1", "c:1"}}, Source{}, "Harness.Nodes"},
		"the same node":           {Harness{New: fresh, Nodes: []cluster.Node{"a:1", "b:1", "c:1", "a:1"}}, Source{}, "Harness.Nodes"},
		"a node of another form":  {Harness{New: fresh, Nodes: []cluster.Node{"a:1", "b:1", "c:1", "D:1"}}, Source{}, "Harness.Nodes"},
		"others in a bubble":      {Harness{New: fresh, Bubble: true, Parallel: true}, Source{}, "Harness.Parallel"},
		"no strategy":             {Harness{New: fresh}, source(func(s *Source) { s.Strategy = nil }), "Source.Strategy"},
		"no Set and no reason":    {Harness{New: fresh}, source(func(s *Source) { s.Set = nil }), "Cannot.Change"},
		"no Set and a reason":     {Harness{New: fresh, Cannot: Cannot{Change: "x"}}, source(func(s *Source) { s.Set = nil }), ""},
		"Set and a reason":        {Harness{New: fresh, Cannot: Cannot{Change: "x"}}, source(func(*Source) {}), "Cannot.Change"},
		"no faults and no reason": {Harness{New: fresh}, source(func(s *Source) { s.Faults = nil }), "Cannot.Fail"},
		"no faults and a reason":  {Harness{New: fresh, Cannot: Cannot{Fail: "x"}}, source(func(s *Source) { s.Faults = nil }), ""},
		"faults and a reason":     {Harness{New: fresh, Cannot: Cannot{Fail: "x"}}, source(func(*Source) {}), "Cannot.Fail"},
		"a fault without Mend":    {Harness{New: fresh}, source(func(s *Source) { s.Faults["gone"] = Fault{Break: func() {}} }), `Faults["gone"]`},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := tt.harness.withDefaults()
			if err == nil {
				err = h.validate(tt.source)
			}
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q in that", err, tt.says)
			}
		})
	}
}

// TestCannot has each reason skip just the rules that need what it denies.
func TestCannot(t *testing.T) {
	for name, tt := range map[string]struct {
		cannot Cannot
		skips  []string
	}{
		"nothing": {Cannot{}, nil},
		"Change":  {Cannot{Change: "why"}, []string{"a change is told", "nobody any more is an answer"}},
		"Fail": {Cannot{Fail: "why"}, []string{
			"a fault is a Fail and no answer", "a fault at the start is a Fail and no answer",
			"a mended source is heard again", "a cancel in a fault ends Run",
		}},
		"Empty": {Cannot{Empty: "why"}, []string{
			"nobody at first is an answer", "nobody any more is an answer", "nobody but this node is an answer",
		}},
		"Self":   {Cannot{Self: "why"}, []string{"this node may be listed", "nobody but this node is an answer"}},
		"Repeat": {Cannot{Repeat: "why"}, []string{"a node listed twice is one"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range rules() {
				want := ""
				if slices.Contains(tt.skips, r.name) {
					want = "why"
				}
				if got := r.skip(tt.cannot); got != want {
					t.Errorf("rule %q is skipped because %q, want %q", r.name, got, want)
				}
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	kept := cluster.Change{Kind: cluster.Replaced, Nodes: []cluster.Node{"a:1"}, Keep: []cluster.Node{"b:1"}}
	failed := cluster.Change{Kind: cluster.Failed, Err: errBroken}
	var many []cluster.Change
	for range 6 {
		many = append(many, kept, failed)
	}
	for name, tt := range map[string]struct {
		changes []cluster.Change
		want    string
	}{
		"nothing": {nil, "nothing"},
		"each":    {[]cluster.Change{kept, failed}, `Replace(["a:1"], keep ["b:1"]), Fail(the source is broken)`},
		"in a row": {
			[]cluster.Change{failed, failed, failed, {Kind: cluster.Added}, failed},
			"Fail(the source is broken) 3 times, Add([]), Fail(the source is broken)",
		},
		"many": {many, "2 more, " + strings.TrimSuffix(strings.Repeat(`Replace(["a:1"], keep ["b:1"]), Fail(the source is broken), `, 5), ", ")},
	} {
		t.Run(name, func(t *testing.T) {
			if got := describe(tt.changes); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
