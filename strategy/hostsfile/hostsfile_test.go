package hostsfile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// The tests wait rather than work, so that more of them go side by side than there
// are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// A file is a hosts file for tests.
type file struct {
	t          testing.TB
	path, text string
	behind     time.Duration // the clock of its file system, for what is written in place

	mu   sync.Mutex
	next func() (text string, more bool) // what is written in place; nil: nothing
}

func newFile(tb testing.TB, nodes ...cluster.Node) *file {
	tb.Helper()
	f := &file{t: tb, path: filepath.Join(tb.TempDir(), "hosts"), behind: -time.Hour}
	f.set(nodes...)
	return f
}

// set replaces the file, as one should.
func (f *file) set(nodes ...cluster.Node) {
	f.t.Helper()
	f.text = "# for a test\n"
	for _, n := range nodes {
		f.text += string(n) + "\n"
	}
	f.replace(f.text)
}

func (f *file) replace(text string) {
	f.t.Helper()
	f.must(os.WriteFile(f.path+".new", []byte(text), 0o600), os.Rename(f.path+".new", f.path))
}

func (f *file) must(errs ...error) {
	f.t.Helper()
	for _, err := range errs {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// faults are those of a file that is at f.path, a folder of its own.
func (f *file) faults() map[string]strategytest.Fault {
	restore := func() { f.t.Helper(); f.must(os.RemoveAll(f.path)); f.replace(f.text) }
	instead := func(text string) func() { return func() { f.t.Helper(); f.replace(text) } }
	dir, away := filepath.Dir(f.path), filepath.Dir(f.path)+".away"
	faults := map[string]strategytest.Fault{
		"gone":             {Break: func() { f.must(os.Remove(f.path)) }, Mend: restore},
		"its folder gone":  {Break: func() { f.must(os.Rename(dir, away)) }, Mend: func() { f.must(os.Rename(away, dir)) }},
		"too large":        {Break: instead(strings.Repeat("# x\n", maxSize/4+1)), Mend: restore},
		"not text":         {Break: instead("10.0.0.2:4370\n\x00"), Mend: restore},
		"a bad line":       {Break: func() { f.replace(f.text + "what is this?\n") }, Mend: restore},
		"only bad lines":   {Break: instead("what is this?\n"), Mend: restore},
		"a link to itself": {Break: func() { f.must(os.Remove(f.path), os.Symlink("hosts", f.path)) }, Mend: restore},
		"a link to nothing": {Break: func() {
			f.must(os.Symlink("nothing", f.path+".new"), os.Rename(f.path+".new", f.path))
		}, Mend: restore},
		"a folder":        {Break: func() { f.must(os.Remove(f.path), os.Mkdir(f.path, 0o700)) }, Mend: restore},
		"written all day": {Break: f.writeAllDay, Mend: func() { f.write(nil); restore() }},
	}
	switch {
	case runtime.GOOS == "linux": // where this is a regular file whose start nobody can read, root included
		faults["unreadable"] = strategytest.Fault{Break: func() {
			f.must(os.Symlink("/proc/self/mem", f.path+".new"), os.Rename(f.path+".new", f.path))
		}, Mend: restore}
	case os.Geteuid() > 0: // whom a mode keeps from reading
		faults["unreadable"] = strategytest.Fault{Break: func() { f.must(os.Chmod(f.path, 0)) }, Mend: func() { f.must(os.Chmod(f.path, 0o600)) }}
	}
	return faults
}

// write writes the file in place: what next returns first now, and the others
// one by one, each just before the file is read the next time.
func (f *file) write(next func() (text string, more bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
	f.step()
}

func (f *file) step() {
	if f.next == nil {
		return
	}
	text, more := f.next()
	if !more {
		f.next = nil
		return
	}
	f.overwrite(text)
}

// overwrite writes it in place.
func (f *file) overwrite(text string) {
	now := time.Now().Add(-f.behind)
	if err := errors.Join(os.WriteFile(f.path, []byte(text), 0o600), os.Chtimes(f.path, time.Time{}, now)); err != nil {
		f.t.Error(err)
	}
}

// writeAllDay writes the file in place without an end, and without a host.
func (f *file) writeAllDay() {
	n := 0
	f.write(func() (string, bool) {
		n++
		return strings.Repeat("#", n%1000), true
	})
}

// readOnce is what reads the file while it is written.
func (f *file) readOnce(path string) (content, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step()
	return readOnce(path)
}

// A fileStrategy reads a file for tests, which may be written meanwhile.
type fileStrategy struct {
	Strategy

	file *file
}

func (f *file) strategy(interval time.Duration) fileStrategy {
	return fileStrategy{Strategy{Path: f.path, Interval: interval}, f}
}

func (s fileStrategy) Run(ctx context.Context, r *cluster.Roster) error {
	return s.run(ctx, r, s.file.readOnce)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{
		"notified": time.Hour,
		"polled":   20 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			strategytest.Test(t, strategytest.Harness{Parallel: true, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
				tb.Helper()
				f := newFile(tb, nodes...)
				return strategytest.Source{Strategy: f.strategy(interval), Set: f.set, Faults: f.faults()}
			}})
		})
	}
}

// TestConformanceConfigMap has the file be in a volume as the kubelet writes
// it: hosts -> ..data/hosts, ..data -> ..N, of which ..data is swapped.
func TestConformanceConfigMap(t *testing.T) {
	t.Parallel()
	strategytest.Test(t, strategytest.Harness{Parallel: true, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
		tb.Helper()
		dir := tb.TempDir()
		n := 0
		set := func(nodes ...cluster.Node) {
			f := newFile(tb, nodes...)
			old := filepath.Join(dir, fmt.Sprintf("..%d", n))
			n++
			name := fmt.Sprintf("..%d", n)
			f.must(os.Mkdir(filepath.Join(dir, name), 0o700), os.Rename(f.path, filepath.Join(dir, name, "hosts")),
				os.Symlink(name, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
				os.RemoveAll(old))
		}
		set(nodes...)
		path := filepath.Join(dir, "hosts")
		if err := os.Symlink("..data/hosts", path); err != nil {
			tb.Fatal(err)
		}
		data := filepath.Join(dir, "..data")
		gone := strategytest.Fault{
			Break: func() { _ = os.Rename(data, data+"_away") },
			Mend:  func() { _ = os.Rename(data+"_away", data) },
		}
		return strategytest.Source{
			Strategy: Strategy{Path: path, Interval: time.Hour}, Set: set,
			Faults: map[string]strategytest.Fault{"gone": gone},
		}
	}})
}

// A telling is a strategy that runs, and what it has told that hasn't been taken.
type telling struct {
	t    *testing.T
	told chan cluster.Change
}

func start(t *testing.T, s cluster.Strategy) *telling {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tell := &telling{t, make(chan cluster.Change, 1000)}
	r := cluster.NewRoster("", nil, func(c cluster.Change) { tell.told <- c })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return tell
}

// until waits for a change of a kind and returns it and what came before.
func (tell *telling) until(kind cluster.ChangeKind) (is cluster.Change, before []cluster.Change) {
	tell.t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case c := <-tell.told:
			if c.Kind == kind {
				return c, before
			}
			before = append(before, c)
		case <-deadline.C:
			tell.t.Fatalf("there is no %s, but %v", kind, before)
		}
	}
}

// TestFaultsAreNamed has a failure say which file, and what is wrong with it.
func TestFaultsAreNamed(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{
		"gone":              "no such file",
		"its folder gone":   "no such file",
		"too large":         "more than 1048576 bytes",
		"not text":          "it is not UTF-8 text",
		"a bad line":        `hosts:3: transport: node "what is this?"`,
		"only bad lines":    `hosts:1: transport: node "what is this?"`,
		"a link to itself":  "too many levels of symbolic links",
		"a link to nothing": "no such file",
		"a folder":          "it is a folder; want a file",
		"unreadable":        "hosts: ",
		"written all day":   "still being written after 2s; replace it by a rename",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && (strings.HasPrefix(say, "no such") || strings.HasPrefix(say, "too many levels")) {
				say = "hosts"
			}
			f := newFile(t, "10.0.0.2:4370")
			fault, can := f.faults()[name]
			if !can {
				t.Skip("this user can read every file of this system")
			}
			fault.Break()
			failed, before := start(t, f.strategy(time.Hour)).until(cluster.Failed)
			if !strings.Contains(failed.Err.Error(), say) || !strings.Contains(failed.Err.Error(), f.path) {
				t.Errorf("the failure is %q, want %q and %s in that", failed.Err, say, f.path)
			}
			for _, c := range before {
				if c.Kind != cluster.Added || name != "a bad line" || !slices.Equal(c.Nodes, []cluster.Node{"10.0.0.2:4370"}) {
					t.Errorf("it tells %v before", c)
				}
			}
		})
	}
}

// TestAtOnce has a change be told long before the poll.
func TestAtOnce(t *testing.T) {
	f := newFile(t, "10.0.0.2:4370")
	tell := start(t, Strategy{Path: f.path, Interval: time.Hour})
	tell.until(cluster.Replaced)
	f.set("10.0.0.3:4370")
	got, _ := tell.until(cluster.Replaced)
	if want := []cluster.Node{"10.0.0.3:4370"}; !slices.Equal(got.Nodes, want) {
		t.Errorf("it tells %q, want %q", got.Nodes, want)
	}
}

// clocks are how far a file server's clock may be behind.
func clocks() map[string]time.Duration {
	return map[string]time.Duration{"ahead": -time.Hour, "right": 0, "behind": 10 * time.Second}
}

// inTurn returns the texts, one by one.
func inTurn(texts ...string) func() (string, bool) {
	return func() (text string, more bool) {
		if len(texts) == 0 {
			return "", false
		}
		text, texts = texts[0], texts[1:]
		return text, true
	}
}

// TestWrittenInPlace has a file that is truncated, written in part and then to
// the end never pass for one of fewer nodes, or others, however late that is by
// its file system.
func TestWrittenInPlace(t *testing.T) {
	for name, texts := range map[string][]string{
		"by lines":           {"", "10.0.0.2:4370\n", "10.0.0.2:4370\n10.0.0.3:4370\n"},
		"by parts of lines":  {"", "10.0.0.2:4", "10.0.0.2:4370\n10.0.0.3", "10.0.0.2:4370\n10.0.0.3:4370"},
		"after all was gone": {"", "# for a test\n"},
	} {
		for clock, behind := range clocks() {
			t.Run(name+", clock "+clock, func(t *testing.T) {
				t.Parallel()
				f := newFile(t, "10.0.0.2:4370", "10.0.0.3:4370")
				f.behind = behind
				tell := start(t, f.strategy(time.Hour))
				tell.until(cluster.Replaced)
				f.write(inTurn(append(slices.Clone(texts), f.text+"10.0.0.4:4370\n")...))
				got, before := tell.until(cluster.Replaced)
				if want := []cluster.Node{"10.0.0.2:4370", "10.0.0.3:4370", "10.0.0.4:4370"}; !slices.Equal(got.Nodes, want) || len(before) > 0 {
					t.Errorf("it tells %v and %q, want only %q", before, got.Nodes, want)
				}
			})
		}
	}
}

// TestPauses has a writer in place pause in the middle without being believed
// too early, and a file that is whole not wait for long.
func TestPauses(t *testing.T) {
	const two, end = "10.0.0.1\n10.0.0.2\n", "10.0.0.3\n"
	for name, tt := range map[string]struct {
		text  string // that is there at first
		hosts int    // that were there before
		want  string
		after time.Duration
	}{
		"whole":                  {two, 2, two, settle},
		"a host more":            {two, 1, two, settle},
		"a host less":            {two, 3, two + end, 950 * time.Millisecond},
		"a line without its end": {"10.0.0.1\n10.0.0.2", 2, two + end, 950 * time.Millisecond},
		"nothing":                {"", 0, two + end, 950 * time.Millisecond},
	} {
		for clock, behind := range clocks() {
			t.Run(name+", clock "+clock, func(t *testing.T) {
				file := newFile(t)
				file.behind = behind
				synctest.Test(t, func(t *testing.T) {
					file.overwrite(tt.text)
					defer time.AfterFunc(875*time.Millisecond, func() { file.overwrite(two + end) }).Stop()
					f := follower{port: 4370, path: file.path, hosts: tt.hosts, once: readOnce}
					began := time.Now()
					got, err := f.read(t.Context(), behind < old)
					if err != nil || string(got.data) != tt.want || time.Since(began) != tt.after {
						t.Errorf("after %s it reads %q, %v; want %q after %s", time.Since(began), got.data, err, tt.want, tt.after)
					}
				})
			})
		}
	}
}

// TestSettled states what is believed.
func TestSettled(t *testing.T) {
	for name, tt := range map[string]struct {
		doubtful  bool
		unchanged time.Duration
		want      bool
	}{
		"just seen":                      {false, 0, false},
		"seen for a moment":              {false, 49 * time.Millisecond, false},
		"seen for long enough":           {false, 50 * time.Millisecond, true},
		"doubtful":                       {true, 999 * time.Millisecond, false},
		"doubtful, seen for long enough": {true, time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := settled(tt.doubtful, tt.unchanged); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

// TestEmpty has an empty file be an answer of nobody, in the end.
func TestEmpty(t *testing.T) {
	f := newFile(t)
	f.replace("")
	got, before := start(t, Strategy{Path: f.path}).until(cluster.Replaced)
	if len(got.Nodes) > 0 || len(before) > 0 {
		t.Errorf("it tells %v and %q, want nobody", before, got.Nodes)
	}
}

// TestUnchanged has the file be read at a notification only if that is about it.
func TestUnchanged(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f *file)
		want   bool
	}{
		"another file":    {func(f *file) { f.must(os.WriteFile(f.path+".other", nil, 0o600)) }, true},
		"replaced":        {func(f *file) { f.replace(f.text) }, false},
		"longer":          {func(f *file) { f.must(os.WriteFile(f.path, []byte(f.text+"#"), 0o600)) }, false},
		"of another time": {func(f *file) { f.must(os.Chtimes(f.path, time.Time{}, time.Now().Add(time.Hour))) }, false},
		"of another mode": {func(f *file) { f.must(os.Chmod(f.path, 0o400)) }, false},
		"gone":            {func(f *file) { f.must(os.Remove(f.path)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t)
			told, err := os.Stat(f.path)
			f.must(err)
			tt.change(f)
			followed := follower{path: f.path, told: told}
			if got := followed.unchanged(); got != tt.want {
				t.Errorf("unchanged is %t, want %t", got, tt.want)
			}
			followed.told = nil
			if followed.unchanged() {
				t.Error("after a failure it isn't read again")
			}
		})
	}
}

// TestSearch has the zero value find a file that is made after its start, and
// stay with it.
func TestSearch(t *testing.T) {
	work, home := t.TempDir(), t.TempDir()
	t.Chdir(work)
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	if _, err := os.Stat("/etc/cluster/hosts"); err == nil {
		t.Fatal("this machine has an /etc/cluster/hosts; the test can't have none found")
	}
	tell := start(t, Strategy{Interval: time.Hour})
	failed, before := tell.until(cluster.Failed)
	for _, place := range []string{filepath.Join(home, ".hosts"), ".hosts, ", "set Path"} {
		if !strings.Contains(failed.Err.Error(), place) || !errors.Is(failed.Err, fs.ErrNotExist) || len(before) > 0 {
			t.Errorf("it tells %v and fails with %q, want %q in that", before, failed.Err, place)
		}
	}
	atHome := &file{t: t, path: filepath.Join(home, ".hosts")}
	atHome.set("10.0.0.2:4370")
	if got, _ := tell.until(cluster.Replaced); !slices.Equal(got.Nodes, []cluster.Node{"10.0.0.2:4370"}) {
		t.Errorf("it tells %q, want what the one at home says", got.Nodes)
	}
	atWork := &file{t: t, path: filepath.Join(work, ".hosts")}
	atWork.set("10.0.0.3:4370")
	atHome.must(os.Remove(atHome.path))
	if failed, before := tell.until(cluster.Failed); len(before) > 0 || !strings.Contains(failed.Err.Error(), atHome.path) {
		t.Errorf("it tells %v and fails with %v, want a failure that names %s", before, failed.Err, atHome.path)
	}
	if got, _ := start(t, Strategy{Interval: time.Hour}).until(cluster.Replaced); !slices.Equal(got.Nodes, []cluster.Node{"10.0.0.3:4370"}) {
		t.Errorf("another Run tells %q, want what the first place says", got.Nodes)
	}
}

// TestPlaces has the order of the search, and what is unknown left out.
func TestPlaces(t *testing.T) {
	is := func(dir string) func() (string, error) { return func() (string, error) { return dir, nil } }
	unknown := func() (string, error) { return "", fs.ErrPermission }
	work, home := t.TempDir(), t.TempDir()
	etc := []string{"/etc/cluster/hosts"}
	if runtime.GOOS == "windows" {
		etc = nil
	}
	for name, tt := range map[string]struct {
		work, home func() (string, error)
		want       []string // nil: an error
	}{
		"all":                   {is(work), is(home), append([]string{filepath.Join(work, ".hosts"), filepath.Join(home, ".hosts")}, etc...)},
		"no home":               {is(work), unknown, append([]string{filepath.Join(work, ".hosts")}, etc...)},
		"a home that isn't one": {is(work), is("."), append([]string{filepath.Join(work, ".hosts")}, etc...)},
		"no working directory":  {unknown, is(home), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := search(tt.work, tt.home)
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestRelative has a relative Path be from the working directory at the start.
func TestRelative(t *testing.T) {
	f := newFile(t, "10.0.0.2:4370")
	t.Chdir(filepath.Dir(f.path))
	tell := start(t, Strategy{Path: "hosts", Interval: time.Hour})
	tell.until(cluster.Replaced)
	t.Chdir(t.TempDir())
	f.set("10.0.0.3:4370")
	if got, before := tell.until(cluster.Replaced); len(before) > 0 || !slices.Equal(got.Nodes, []cluster.Node{"10.0.0.3:4370"}) {
		t.Errorf("it tells %v and %q, want what the same file says", before, got.Nodes)
	}
}

// TestValidate has each mistake named by field and value, with what would be
// right, and Run return it.
func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy Strategy
		says     string // empty: it is right
	}{
		"the zero value":     {Strategy{}, ""},
		"all fields":         {Strategy{Path: "/no/such/file", Port: 65535, Interval: time.Minute}, ""},
		"a port too big":     {Strategy{Port: 65536}, "Port is 65536; want 1 to 65535, or 0"},
		"a port below 0":     {Strategy{Port: -1}, "Port is -1; want 1 to 65535, or 0"},
		"a negative polling": {Strategy{Interval: -time.Second}, "Interval is -1s; want more than zero, or 0 for 5s"},
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
