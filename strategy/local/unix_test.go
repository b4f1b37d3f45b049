//go:build unix

package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// forbidWrites has every write to a file fail from now on, as on a full disk,
// until the func that it returns is called.
func forbidWrites() (lift func()) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &none); err != nil {
		panic(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			panic(err)
		}
	}
}

// TestFullDisk has a process that can't write its entry say so, find the others
// and leave nothing behind, and register once it can.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	c := newCrowd(t, dir, "b:1")
	_, input, output := spawn(t, dir, "a:1", envLimit+"=1")
	lines := bufio.NewScanner(output)
	failed := fmt.Sprintf("local: registry %s: register a:1: write: %v", c.path, syscall.EFBIG)
	for _, want := range []string{
		failed, failed, "1 <nil>", // each attempt, and the other's entry as all that is there
		fmt.Sprint(cluster.Added, " [b:1] <nil>"), fmt.Sprint(cluster.Failed, " [] ", failed),
	} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("it says %q, want %q", lines.Text(), want)
		}
	}
	watcher := start(t, Strategy{Dir: dir}, "")
	watcher.answer("b:1")
	must(t, input.Close())
	watcher.answer("a:1", "b:1")
}

// TestNoFiles has what is named as an entry, but isn't a file, be ignored and
// left alone.
func TestNoFiles(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a pipe":            func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a folder":          func(p string) error { return os.Mkdir(p, 0o700) },
		"a link to outside": func(p string) error { return os.Symlink("/etc/passwd", p) },
		"a link to an outsider": func(p string) error {
			outside := filepath.Join(filepath.Dir(filepath.Dir(p)), "c.node")
			return errors.Join(os.WriteFile(outside, []byte("c:1\n"), 0o600), os.Symlink("../c.node", p))
		},
		"a link to nothing": func(p string) error { return os.Symlink("nothing", p) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, end := range []string{suffix, tempSuffix} {
				dir := t.TempDir()
				c := newCrowd(t, dir, "b:1")
				path := filepath.Join(c.path, "x"+end)
				must(t, put(path))
				before := info(t, path)
				if told := start(t, Strategy{Dir: dir}, "a:1").answer("b:1"); len(told) > 0 {
					t.Errorf("beside x%s it tells %v before who is there", end, told)
				}
				if after := info(t, path); !os.SameFile(before, after) {
					t.Errorf("x%s is another one", end)
				}
			}
		})
	}
}

// TestPrivate refuses what isn't a folder for one user alone.
func TestPrivate(t *testing.T) {
	const other = 1 << 20
	for name, tt := range map[string]struct {
		make func(path string) error
		uid  int
		says string // empty: it is right
	}{
		"as it is made":     {func(p string) error { return os.Mkdir(p, 0o700) }, os.Geteuid(), ""},
		"another user's":    {func(p string) error { return os.Mkdir(p, 0o700) }, other, fmt.Sprintf("belongs to user %d and not to this one, %d", os.Geteuid(), other)},
		"a group may read":  {func(p string) error { return mkdir(p, 0o740) }, os.Geteuid(), "has mode 0740, so that others have access; want 0700"},
		"others may pass":   {func(p string) error { return mkdir(p, 0o701) }, os.Geteuid(), "has mode 0701"},
		"all may do all":    {func(p string) error { return mkdir(p, 0o777) }, os.Geteuid(), "has mode 0777"},
		"a file":            {func(p string) error { return os.WriteFile(p, nil, 0o600) }, os.Geteuid(), "is not a folder"},
		"a link":            {func(p string) error { return os.Symlink(filepath.Dir(p), p) }, os.Geteuid(), "is a symbolic link"},
		"a link to nothing": {func(p string) error { return os.Symlink("nothing", p) }, os.Geteuid(), "is a symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster-default")
			must(t, tt.make(path))
			err := private(path, info(t, path), tt.uid)
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("the error is %v, want %q and the path in that", err, tt.says)
			}
			if err == nil || tt.uid != os.Geteuid() {
				return
			}
			tell := start(t, Strategy{Dir: filepath.Dir(path)}, "a:1")
			if before := tell.failure(tt.says); len(before) > 0 {
				t.Errorf("it tells %v", before)
			}
		})
	}
}

// mkdir is os.Mkdir without the umask.
func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// TestMade has the folder be made for this user alone, whatever the umask.
func TestMade(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "a", "b")
	start(t, Strategy{Dir: dir}, "a:1").answer()
	path := filepath.Join(dir, "cluster-default")
	if mode := info(t, path).Mode(); mode != os.ModeDir|0o700 {
		t.Errorf("the folder has mode %s", mode)
	}
	for _, name := range entries(t, path) {
		if mode := info(t, filepath.Join(path, name)).Mode(); mode != 0o600 {
			t.Errorf("the entry has mode %s", mode)
		}
	}
}

// TestSwapped has a folder that is swapped for a link, after it was opened,
// never be written to.
func TestSwapped(t *testing.T) {
	dir, trap := t.TempDir(), t.TempDir()
	tell := start(t, Strategy{Dir: dir, Interval: time.Millisecond}, "a:1")
	tell.answer()
	path := filepath.Join(dir, "cluster-default")
	must(t, os.Rename(path, path+".away"), os.Symlink(trap, path))
	tell.failure("is a symbolic link")
	tell.stop()
	if got := entries(t, trap); len(got) > 0 {
		t.Errorf("behind the link there are %q", got)
	}
}

// TestFolder states where the registry is.
func TestFolder(t *testing.T) {
	temp, run, work := t.TempDir(), t.TempDir(), t.TempDir()
	work, err := filepath.EvalSymlinks(work) // as the kernel names it
	must(t, err)
	t.Chdir(work)
	mine := fmt.Sprintf("cluster-%d-", os.Geteuid())
	file := filepath.Join(work, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, tt := range map[string]struct {
		strategy Strategy
		run      string
		want     string
	}{
		"the zero value":       {Strategy{}, run, filepath.Join(run, "cluster-default")},
		"a name":               {Strategy{Cluster: "web-1_a"}, run, filepath.Join(run, "cluster-web-1_a")},
		"a name in capitals":   {Strategy{Cluster: "Web"}, run, filepath.Join(run, "cluster-%57eb")},
		"a name with a path":   {Strategy{Cluster: "../%a b"}, run, filepath.Join(run, "cluster-%2E%2E%2F%25a%20b")},
		"no folder for runs":   {Strategy{}, "", filepath.Join(temp, mine+"default")},
		"a relative one":       {Strategy{}, ".", filepath.Join(temp, mine+"default")},
		"one that isn't there": {Strategy{}, filepath.Join(run, "nothing"), filepath.Join(temp, mine+"default")},
		"one that is a file":   {Strategy{}, file, filepath.Join(temp, mine+"default")},
		"Dir":                  {Strategy{Dir: "/srv/x"}, run, "/srv/x/cluster-default"},
		"a relative Dir":       {Strategy{Dir: "x"}, run, filepath.Join(work, "x", "cluster-default")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", tt.run)
			t.Setenv("TMPDIR", temp)
			if got, err := tt.strategy.folder(); err != nil || got != tt.want {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
		})
	}
}
