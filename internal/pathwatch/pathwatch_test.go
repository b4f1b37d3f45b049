package pathwatch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must is for what a test has to be able to do.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A tree is a folder to change, as a test.
type tree struct {
	t   *testing.T
	dir string
}

// newTree makes files, folders ("x/") and links ("a -> b").
func newTree(t *testing.T, layout ...string) tree {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir()) // macOS has a link on the way
	must(t, err)
	tr := tree{t, dir}
	tr.lay(layout...)
	return tr
}

func (tr tree) path(name string) string { return filepath.Join(tr.dir, name) }

func (tr tree) lay(layout ...string) {
	tr.t.Helper()
	for _, entry := range layout {
		name, target, linked := strings.Cut(entry, " -> ")
		switch {
		case linked && target[0] == '/':
			must(tr.t, os.Symlink(tr.path(target), tr.path(name)))
		case linked:
			must(tr.t, os.Symlink(target, tr.path(name)))
		case strings.HasSuffix(entry, "/"):
			must(tr.t, os.Mkdir(tr.path(name), 0o700))
		default:
			tr.write(name, "")
		}
	}
}

func (tr tree) write(name, text string) {
	tr.t.Helper()
	must(tr.t, os.WriteFile(tr.path(name), []byte(text), 0o600))
}

func (tr tree) rename(from, to string) {
	tr.t.Helper()
	must(tr.t, os.Rename(tr.path(from), tr.path(to)))
}

func (tr tree) clear() {
	tr.t.Helper()
	entries, err := os.ReadDir(tr.dir)
	must(tr.t, err)
	for _, e := range entries {
		must(tr.t, os.RemoveAll(tr.path(e.Name())))
	}
}

// TestFolders has the folders named that decide where a path leads.
func TestFolders(t *testing.T) {
	for name, tt := range map[string]struct {
		layout []string
		path   string
		want   []string
	}{
		"a file":                 {[]string{"hosts"}, "hosts", []string{"."}},
		"in a folder":            {[]string{"a/", "a/hosts"}, "a/hosts", []string{"a"}},
		"no file":                {[]string{"a/"}, "a/hosts", []string{"a"}},
		"no folder":              {nil, "a/b/hosts", []string{"."}},
		"no folder's folder":     {[]string{"a/"}, "a/b/c/hosts", []string{"a"}},
		"a file as a folder":     {[]string{"a"}, "a/hosts", []string{"."}},
		"dots":                   {[]string{"a/", "b/", "b/hosts"}, "a/./../b/hosts", []string{"b"}},
		"a link":                 {[]string{"a/", "a/hosts", "hosts -> a/hosts"}, "hosts", []string{".", "a"}},
		"a link that hangs":      {[]string{"hosts -> a/hosts"}, "hosts", []string{".", "."}},
		"a link round":           {[]string{"hosts -> hosts"}, "hosts", slices.Repeat([]string{"."}, maxLinks+1)},
		"a linked folder":        {[]string{"a/", "a/hosts", "b -> a"}, "b/hosts", []string{".", "a"}},
		"an absolute link":       {[]string{"a/", "a/hosts", "b -> /a"}, "b/hosts", []string{".", "a"}},
		"a link upwards":         {[]string{"a/", "b/", "b/hosts", "a/c -> ../b"}, "a/c/hosts", []string{"a", "b"}},
		"a ConfigMap of volumes": {[]string{"v/", "v/..1/", "v/..1/hosts", "v/..data -> ..1", "v/hosts -> ..data/hosts"}, "v/hosts", []string{"v", "v", "v/..1"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, tt.layout...)
			got := folders(tr.dir + "/" + tt.path)
			for i := range tt.want {
				tt.want[i] = tr.path(tt.want[i])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// changes fails if no change is notified until the path is right.
func changes(t *testing.T, w *Watcher, path string, right func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for !right() {
		select {
		case <-w.Changed():
			must(t, w.Aim(path))
		case <-deadline.C:
			t.Fatal("no change is notified")
		}
	}
}

// TestChanges makes a path lead elsewhere in each way; without a notification
// of each step, it would wait in vain.
func TestChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		layout []string
		change func(tr tree)
	}{
		"written":           {[]string{"a/", "a/hosts"}, func(tr tree) { tr.write("a/hosts", "new") }},
		"made":              {[]string{"a/"}, func(tr tree) { tr.write("a/hosts", "new") }},
		"its folder made":   {nil, func(tr tree) { tr.lay("a/"); tr.write("a/hosts", "new") }},
		"its folder linked": {nil, func(tr tree) { tr.lay("b/"); tr.write("b/hosts", "new"); tr.lay("a -> b") }},
		"renamed into":      {[]string{"a/", "a/hosts"}, func(tr tree) { tr.write("n", "new"); tr.rename("n", "a/hosts") }},
		"its folder replaced": {[]string{"a/", "a/hosts"}, func(tr tree) {
			tr.clear()
			tr.lay("a/")
			tr.write("a/hosts", "new")
		}},
		"its folder renamed": {[]string{"a/", "a/hosts", "b/"}, func(tr tree) {
			tr.write("b/hosts", "new")
			tr.rename("a", "c")
			tr.rename("b", "a")
		}},
		"a link swapped": {[]string{"1/", "1/hosts", "2/", "a -> 1"}, func(tr tree) {
			tr.write("2/hosts", "new")
			tr.lay("n -> 2")
			tr.rename("n", "a")
		}},
		"behind a link": {[]string{"1/", "1/hosts", "a -> 1"}, func(tr tree) { tr.write("1/hosts", "new") }},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, tt.layout...)
			path := tr.path("a/hosts")
			w := New()
			defer w.Close()
			must(t, w.Aim(path))
			for range 2 { // and again, since a watch may be used up by the first time
				tt.change(tr)
				changes(t, w, path, func() bool { got, err := os.ReadFile(path); return err == nil && string(got) == "new" })
				tr.clear()
				changes(t, w, path, func() bool { _, err := os.Stat(path); return err != nil })
				tr.lay(tt.layout...)
			}
		})
	}
}

// TestAim has it watch what it is aimed at and nothing else, also after a Close.
func TestAim(t *testing.T) {
	w := New()
	w.Close() // before the first Aim, too
	dir := newTree(t).dir
	must(t, w.Aim(filepath.Join(dir, "hosts")))
	w.Close()
	w.Close()
	must(t, w.Aim(filepath.Join(dir, "hosts"))) // opens it again
	defer w.Close()
	if got := w.notify.WatchList(); !slices.Equal(got, []string{dir}) {
		t.Errorf("it watches %q, want %q", got, dir)
	}
	other := newTree(t).dir
	must(t, w.Aim(filepath.Join(other, "hosts")))
	if got := w.notify.WatchList(); !slices.Equal(got, []string{other}) {
		t.Errorf("it watches %q, want %q", got, other)
	}
}

// TestAimAgain has a folder be watched again whose watch has ended, or is on
// what had its name before, though the change wasn't notified.
func TestAimAgain(t *testing.T) {
	for name, change := range map[string]func(*Watcher, tree){
		"nothing":              func(*Watcher, tree) {},
		"the watch has ended":  func(w *Watcher, tr tree) { must(tr.t, w.notify.Remove(tr.path("a/b"))) },
		"renamed further up":   func(_ *Watcher, tr tree) { tr.lay("c/", "c/b/"); tr.rename("a", "d"); tr.rename("c", "a") },
		"gone, and made again": func(_ *Watcher, tr tree) { tr.clear(); tr.lay("a/", "a/b/") },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, "a/", "a/b/")
			path := tr.path("a/b/hosts")
			w := New()
			defer w.Close()
			must(t, w.Aim(path))
			change(w, tr)
			must(t, w.Aim(path))
			tr.write("a/b/hosts", "new")
			select {
			case <-w.Changed():
			case <-time.After(10 * time.Second):
				t.Error("no change is notified")
			}
		})
	}
}
