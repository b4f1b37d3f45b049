package local

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/pathwatch"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// The tests wait rather than work, so that more of them go side by side than there
// are processors.
func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		child(dir)
		return
	}
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// must is for what a test has to be able to do.
func must(tb testing.TB, errs ...error) {
	tb.Helper()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// A crowd are processes that are registered in a folder, as far as another can
// tell.
type crowd struct {
	tb      testing.TB
	path    string
	members []*registry
}

func newCrowd(tb testing.TB, dir string, nodes ...cluster.Node) *crowd {
	tb.Helper()
	path, err := Strategy{Dir: dir}.folder()
	must(tb, err)
	c := &crowd{tb: tb, path: path}
	tb.Cleanup(func() { c.set() })
	c.set(nodes...)
	return c
}

// set has nodes come, and then the others go.
func (c *crowd) set(nodes ...cluster.Node) {
	c.tb.Helper()
	before := c.members
	c.members = nil
	for _, n := range nodes {
		g := &registry{path: c.path, self: n}
		_, err := g.look()
		must(c.tb, err)
		c.members = append(c.members, g)
	}
	for _, g := range before {
		g.close()
	}
}

// entries returns the names in the registry's folder.
func entries(tb testing.TB, path string) (names []string) {
	tb.Helper()
	list, err := os.ReadDir(path)
	must(tb, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// faults are those of a folder in a Dir that is the link at to the folder behind,
// which can be swapped in one step.
func (c *crowd) faults(at, behind string) map[string]strategytest.Fault {
	swap := func(target string) { must(c.tb, os.Symlink(target, at+".new"), os.Rename(at+".new", at)) }
	instead := func(name string, put func(path string) error) strategytest.Fault {
		dir := filepath.Join(filepath.Dir(at), name)
		must(c.tb, os.Mkdir(dir, 0o700), put(filepath.Join(dir, filepath.Base(c.path))))
		return strategytest.Fault{Break: func() { swap(dir) }, Mend: func() { swap(behind) }}
	}
	faults := map[string]strategytest.Fault{
		"a file instead": instead("file", func(path string) error { return os.WriteFile(path, nil, 0o600) }),
		"a link instead": instead("link", func(path string) error { return os.Symlink(c.path, path) }),
		"an entry that isn't one": {
			Break: func() { c.members = append(c.members, c.garbage()) },
			Mend: func() {
				last := len(c.members) - 1
				c.members[last].close()
				c.members = c.members[:last]
			},
		},
	}
	if _, known := owner(info(c.tb, c.path)); known {
		faults["open to others"] = strategytest.Fault{
			Break: func() { must(c.tb, os.Chmod(c.path, 0o755)) },
			Mend:  func() { must(c.tb, os.Chmod(c.path, 0o700)) },
		}
	}
	return faults
}

// garbage is a process that has registered something that is no node.
func (c *crowd) garbage() *registry {
	g := &registry{path: c.path, self: "what is this?"}
	must(c.tb, g.open(), g.register())
	return g
}

func info(tb testing.TB, path string) os.FileInfo {
	tb.Helper()
	i, err := os.Lstat(path)
	must(tb, err)
	return i
}

func TestConformance(t *testing.T) {
	for name, interval := range map[string]time.Duration{"by default": 0, "polled fast": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			strategytest.Test(t, strategytest.Harness{Parallel: true, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
				tb.Helper()
				dir := tb.TempDir()
				at, behind := filepath.Join(dir, "at"), filepath.Join(dir, "real")
				c := newCrowd(tb, behind)
				must(tb, os.MkdirAll(c.path, 0o700), os.Symlink(behind, at))
				c.set(nodes...)
				return strategytest.Source{Strategy: Strategy{Dir: at, Interval: interval}, Set: c.set, Faults: c.faults(at, behind)}
			}})
		})
	}
}

// A telling is a strategy that runs, and what it has told that hasn't been taken.
type telling struct {
	t    *testing.T
	told chan cluster.Change
	stop func()
}

func start(t *testing.T, s Strategy, self cluster.Node) *telling {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tell := &telling{t: t, told: make(chan cluster.Change, 1000)}
	r := cluster.NewRoster(self, nil, func(c cluster.Change) { tell.told <- c })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	tell.stop = func() { cancel(); wait.Wait() }
	t.Cleanup(tell.stop)
	return tell
}

// until waits for what is told to be right, and returns what came before.
func (tell *telling) until(what string, right func(cluster.Change) bool) (before []cluster.Change) {
	tell.t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case c := <-tell.told:
			if right(c) {
				return before
			}
			before = append(before, c)
		case <-deadline.C:
			tell.t.Fatalf("there is no %s, but %v", what, before)
		}
	}
}

func (tell *telling) answer(nodes ...cluster.Node) (before []cluster.Change) {
	tell.t.Helper()
	return tell.until(fmt.Sprintf("Replace(%q)", nodes), func(c cluster.Change) bool {
		return c.Kind == cluster.Replaced && slices.Equal(c.Nodes, nodes)
	})
}

// failure waits for a failure that says something.
func (tell *telling) failure(says string) (before []cluster.Change) {
	tell.t.Helper()
	return tell.until("failure that says "+says, func(c cluster.Change) bool {
		return c.Kind == cluster.Failed && strings.Contains(c.Err.Error(), says)
	})
}

// TestEachOther has strategies find each other at once, lose who leaves, and
// leave nothing behind.
func TestEachOther(t *testing.T) {
	dir := t.TempDir()
	s := Strategy{Dir: dir, Interval: time.Hour}
	a := start(t, s, "a:1")
	a.answer()
	b := start(t, s, "b:1")
	if before := b.answer("a:1"); len(before) > 0 {
		t.Errorf("the newcomer tells %v before all", before)
	}
	a.answer("b:1")
	watcher := start(t, s, "")
	watcher.answer("a:1", "b:1")
	b.stop()
	if before := a.answer(); len(before) > 0 {
		t.Errorf("it tells %v before nobody", before)
	}
	watcher.answer("a:1")
	a.stop()
	watcher.answer()
	if left := entries(t, filepath.Join(dir, "cluster-default")); len(left) > 0 {
		t.Errorf("they leave %q", left)
	}
}

// TestApart has those of another cluster, or folder, not be found.
func TestApart(t *testing.T) {
	dir := t.TempDir()
	others := []Strategy{{Dir: dir, Cluster: "Web"}, {Dir: dir, Cluster: "web"}, {Dir: dir, Cluster: "w/../web"}, {Dir: filepath.Join(dir, "other"), Cluster: "web"}}
	for i, s := range others {
		start(t, s, cluster.Node([]string{"a:1", "b:1", "c:1", "d:1"}[i])).answer()
	}
	start(t, Strategy{Dir: dir, Cluster: "web"}, "e:1").answer("b:1")
}

// TestRestart has a node that is registered twice stay when the older one ends.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	old := newCrowd(t, dir, "a:1")
	b := start(t, Strategy{Dir: dir, Interval: time.Millisecond}, "b:1")
	b.answer("a:1")
	newer := newCrowd(t, dir, "a:1")
	old.set()
	newer.set("a:1", "c:1")
	if before := b.answer("a:1", "c:1"); len(before) > 0 {
		t.Errorf("it tells %v, but the node has been there all the time", before)
	}
}

// TestHandover has a node whose entry is replaced by another after the names were
// read, and before it was tried, not be missing from a whole answer.
func TestHandover(t *testing.T) {
	both := []cluster.Node{"a:1", "b:1"}
	for name, tt := range map[string]struct {
		leave  func(old *registry)
		rounds int
		want   []cluster.Node
		fails  bool
	}{
		"it closes":             {(*registry).close, maxRounds, both, false},
		"it crashes":            {func(old *registry) { must(t, old.own.file.Close()) }, maxRounds, both, false},
		"there is no time left": {(*registry).close, 1, []cluster.Node{"a:1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, t.TempDir(), both...)
			a, old := c.members[0], c.members[1]
			names, err := a.names()
			must(t, err)
			c.members[1] = &registry{path: c.path, self: old.self}
			must(t, c.members[1].open(), c.members[1].register())
			tt.leave(old)
			got, err := a.settle(names, tt.rounds)
			if !slices.Equal(got, tt.want) || (err != nil) != tt.fails {
				t.Errorf("it finds %q and %v, want %q and an error: %t", got, err, tt.want, tt.fails)
			}
			old.close()
		})
	}
}

// TestHandovers has a node that is replaced all the time be in every whole answer.
func TestHandovers(t *testing.T) {
	c := newCrowd(t, t.TempDir(), "b:1")
	over := make(chan struct{})
	whole := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		watcher := &registry{path: c.path}
		defer watcher.close()
		for done := false; !done; {
			select {
			case <-over:
				done = true // after a last look
			default:
			}
			got, err := watcher.look()
			if err != nil {
				continue
			}
			whole++
			if want := []cluster.Node{"b:1"}; !slices.Equal(got, want) {
				t.Errorf("answer %d is %q, want %q", whole, got, want)
			}
		}
	})
	defer func() {
		close(over)
		wait.Wait()
		if whole == 0 {
			t.Error("there is no whole answer")
		}
	}()
	for range 500 {
		c.set("b:1")
	}
}

// TestEntryRemoved has a live process register again when its entry is removed,
// as by what cleans folders for temporary files up.
func TestEntryRemoved(t *testing.T) {
	dir := t.TempDir()
	a := start(t, Strategy{Dir: dir}, "a:1")
	a.answer()
	b := start(t, Strategy{Dir: dir}, "b:1")
	b.answer("a:1")
	a.answer("b:1")
	path := filepath.Join(dir, "cluster-default")
	for _, name := range entries(t, path) {
		must(t, os.Remove(filepath.Join(path, name)))
	}
	start(t, Strategy{Dir: dir}, "").answer("a:1", "b:1")
}

// TestFolderRemoved has all register again in a new folder, which is a failure
// first.
func TestFolderRemoved(t *testing.T) {
	dir := t.TempDir()
	a := start(t, Strategy{Dir: dir}, "a:1")
	a.answer()
	b := start(t, Strategy{Dir: dir}, "b:1")
	b.answer("a:1")
	a.answer("b:1")
	path := filepath.Join(dir, "cluster-default")
	must(t, os.Rename(path, path+".away"))
	for _, tell := range []*telling{a, b} {
		if before := tell.failure("has been removed or replaced"); len(before) > 0 {
			t.Errorf("it tells %v before it fails", before)
		}
	}
	a.answer("b:1")
	b.answer("a:1")
	if left := entries(t, path+".away"); len(left) > 0 {
		t.Errorf("in the old folder there are left %q", left)
	}
}

// TestStale has what crashed processes left be swept, and nothing else.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	c := newCrowd(t, dir, "a:1")
	live := entries(t, c.path)
	long := time.Now().Add(-time.Hour)
	for name, old := range map[string]bool{
		"dead.node": false, "empty.node": false, "half.node.tmp": false, "halfold.node.tmp": true, "notes.txt": true,
	} {
		path := filepath.Join(c.path, name)
		must(t, os.WriteFile(path, []byte("b:1\n"), 0o600))
		if old {
			must(t, os.Chtimes(path, long, long))
		}
	}
	must(t, os.Truncate(filepath.Join(c.path, "empty.node"), 0))
	watcher := start(t, Strategy{Dir: dir}, "")
	if before := watcher.answer("a:1"); len(before) > 0 {
		t.Errorf("it tells %v before who lives", before)
	}
	want := append(slices.Clone(live), "half.node.tmp", "notes.txt")
	slices.Sort(want)
	if left := entries(t, c.path); !slices.Equal(left, want) {
		t.Errorf("there are left %q, want %q", left, want)
	}
}

// TestManyAtOnce has many come, sweep and go at once, and all be found.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	path, err := Strategy{Dir: dir}.folder()
	must(t, err)
	var want []cluster.Node
	var all sync.WaitGroup
	members := make([]*registry, 30)
	for i := range members {
		n := cluster.Node(fmt.Sprintf("h%dx:1", i))
		want = append(want, n)
		members[i] = &registry{path: path, self: n}
		all.Go(func() {
			for range 10 { // crash, and come again
				if _, err := members[i].look(); err != nil {
					t.Error(err)
					return
				}
				_ = members[i].own.file.Close()
				members[i].own = nil
			}
			if _, err := members[i].look(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(want)
	for _, g := range members {
		got, err := g.look()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s finds %q and %v, want all", g.self, got, err)
		}
	}
	if left := entries(t, path); len(left) != len(members) {
		t.Errorf("%d entries are left of %d nodes", len(left), len(members))
	}
	for _, g := range members {
		g.close()
	}
}

// TestTeller has what is the same be told every 5 seconds and not more often.
func TestTeller(t *testing.T) {
	var told []cluster.ChangeKind
	tell := teller{roster: cluster.NewRoster("", nil, func(c cluster.Change) { told = append(told, c.Kind) })}
	at := time.Now()
	a, ab := []cluster.Node{"a:1"}, []cluster.Node{"a:1", "b:1"}
	for _, step := range []struct {
		name  string
		after time.Duration
		nodes []cluster.Node
		err   error
		want  []cluster.ChangeKind
	}{
		{"the first, of nobody", 0, nil, nil, []cluster.ChangeKind{cluster.Replaced}},
		{"the same", time.Second, nil, nil, nil},
		{"somebody", 0, a, nil, []cluster.ChangeKind{cluster.Replaced}},
		{"the same, soon", confirm - 1, a, nil, nil},
		{"the same, later", 1, a, nil, []cluster.ChangeKind{cluster.Replaced}},
		{"a failure", 0, nil, os.ErrPermission, []cluster.ChangeKind{cluster.Failed}},
		{"the same failure", time.Second, nil, os.ErrPermission, nil},
		{"another failure", 0, nil, os.ErrInvalid, []cluster.ChangeKind{cluster.Failed}},
		{"a failure in part", 0, ab, os.ErrInvalid, []cluster.ChangeKind{cluster.Added, cluster.Failed}},
		{"the same failure, later", confirm, ab, os.ErrInvalid, []cluster.ChangeKind{cluster.Added, cluster.Failed}},
		{"the same nodes, well", 0, ab, nil, []cluster.ChangeKind{cluster.Replaced}},
	} {
		told = nil
		at = at.Add(step.after)
		tell.tell(at, step.nodes, step.err)
		if !slices.Equal(told, step.want) {
			t.Errorf("%s: it tells %v, want %v", step.name, told, step.want)
		}
	}
}

// TestValidate has each mistake named by field and value, with what would be
// right, and Run return it.
func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy Strategy
		says     string // empty: it is right
	}{
		"the zero value":      {Strategy{}, ""},
		"all fields":          {Strategy{Cluster: "../Any näme", Dir: "/no/such/folder", Interval: time.Second}, ""},
		"the longest name":    {Strategy{Cluster: strings.Repeat("X", 64)}, ""},
		"a name too long":     {Strategy{Cluster: strings.Repeat("X", 65)}, "of 65 bytes; want at most 64"},
		"a negative interval": {Strategy{Interval: -time.Second}, "Interval is -1s; want more than zero, or 0 for 250ms"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.strategy.Validate()
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("the error is %v, want %q in that", err, tt.says)
			}
			if err == nil {
				return
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.Run(t.Context(), r); ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// BenchmarkLook measures what a look costs of which there are four a second, by
// how many are registered.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var nodes []cluster.Node
			for i := range n {
				nodes = append(nodes, cluster.Node(fmt.Sprintf("h%dx:1", i)))
			}
			c := newCrowd(b, b.TempDir(), nodes...)
			g := c.members[0]
			w := pathwatch.New()
			defer w.Close()
			b.ReportAllocs()
			for b.Loop() {
				must(b, w.Aim(g.inside()))
				if got, err := g.look(); err != nil || len(got) != n {
					b.Fatal(got, err)
				}
			}
		})
	}
}
