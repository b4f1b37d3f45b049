package hostsfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestFind states which place is taken.
func TestFind(t *testing.T) {
	work, home, etc := "/work/.hosts", "/home/.hosts", "/etc/cluster/hosts"
	for name, tt := range map[string]struct {
		places []string
		stat   map[string]error // nil: it is there
		want   string           // empty: a failure
		is     error            // which wraps this
		says   string           // and says this
	}{
		"the first":               {[]string{work, home, etc}, map[string]error{work: nil, home: nil, etc: nil}, work, nil, ""},
		"the last":                {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: fs.ErrNotExist, etc: nil}, etc, nil, ""},
		"a home that is no home":  {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: syscall.ENOTDIR, etc: nil}, etc, nil, ""},
		"the home of another":     {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: fs.ErrPermission, etc: nil}, etc, nil, ""},
		"all folders of another":  {[]string{work, home, etc}, map[string]error{work: fs.ErrPermission, home: fs.ErrPermission, etc: nil}, etc, nil, ""},
		"none":                    {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: syscall.ENOTDIR, etc: fs.ErrNotExist}, "", fs.ErrNotExist, "there is none of " + work + ", " + home + ", " + etc},
		"none that may be seen":   {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: fs.ErrPermission, etc: fs.ErrNotExist}, "", fs.ErrPermission, "stat " + home + ": permission denied"},
		"one that isn't known of": {[]string{work, home, etc}, map[string]error{work: fs.ErrNotExist, home: syscall.EIO, etc: nil}, "", syscall.EIO, "stat " + home},
		"the only one":            {[]string{work}, map[string]error{work: fs.ErrNotExist}, work, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := find(tt.places, func(path string) (fs.FileInfo, error) {
				if err := tt.stat[path]; err != nil {
					return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
				}
				return nil, nil
			})
			if got != tt.want || !errors.Is(err, tt.is) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q and %v, want %q and an error that is %v and says %q", got, err, tt.want, tt.is, tt.says)
			}
		})
	}
}

// TestNoHome has a home directory that is none not end the search, as is that of
// many services.
func TestNoHome(t *testing.T) {
	work := t.TempDir()
	t.Chdir(work)
	home := filepath.Join(work, "file")
	atWork := &file{t: t, path: filepath.Join(work, ".hosts")}
	atWork.must(os.WriteFile(home, nil, 0o600))
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	tell := start(t, Strategy{Interval: time.Hour})
	if failed, _ := tell.until(cluster.Failed); !errors.Is(failed.Err, fs.ErrNotExist) {
		t.Errorf("it fails with %v, want that there is none", failed.Err)
	}
	atWork.set("10.0.0.2:4370")
	if got, _ := tell.until(cluster.Replaced); !slices.Equal(got.Nodes, []cluster.Node{"10.0.0.2:4370"}) {
		t.Errorf("it tells %q, want what was made at last", got.Nodes)
	}
}
