package hostsfile

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestMadeInPlace has a file that is made after the start, and written in parts,
// not be believed before it is whole.
func TestMadeInPlace(t *testing.T) {
	for clock, behind := range clocks() {
		t.Run("clock "+clock, func(t *testing.T) {
			t.Parallel()
			f := newFile(t)
			f.behind = behind
			f.must(os.Remove(f.path))
			tell := start(t, f.strategy(time.Hour))
			tell.until(cluster.Failed)
			f.write(inTurn("", "", "10.0.0.2:4", "10.0.0.2:4370\n10.0.0.3:4370\n"))
			got, before := tell.until(cluster.Replaced)
			for _, c := range before {
				if c.Kind != cluster.Failed || !errors.Is(c.Err, fs.ErrNotExist) {
					t.Errorf("it tells %v before", c)
				}
			}
			if want := []cluster.Node{"10.0.0.2:4370", "10.0.0.3:4370"}; !slices.Equal(got.Nodes, want) {
				t.Errorf("it tells %q, want only %q", got.Nodes, want)
			}
		})
	}
}

// TestAge has a file be believed at once if it has been there for long, be that by
// what its file system says at the start, or by what was seen of it.
func TestAge(t *testing.T) {
	for name, tt := range map[string]struct {
		age   time.Duration // by the file system
		first bool
		seen  time.Duration // how long ago it was read before; 0: it wasn't
		after time.Duration
	}{
		"old at first":          {old, true, 0, 0},
		"not that old at first": {2 * time.Second, true, 0, settleDoubtful},
		"from the future":       {-time.Hour, true, 0, settleDoubtful},
		"old, and made since":   {old, false, 0, settleDoubtful},
		"seen for long":         {-time.Hour, false, settleDoubtful, 0},
		"seen a moment ago":     {old, false, settle, settleDoubtful - settle},
	} {
		t.Run(name, func(t *testing.T) {
			file := newFile(t)
			synctest.Test(t, func(t *testing.T) {
				file.behind = tt.age
				file.overwrite("") // which is doubtful
				f := follower{path: file.path, once: readOnce}
				if tt.seen > 0 {
					c, err := readOnce(file.path)
					file.must(err)
					f.see(c)
					time.Sleep(tt.seen)
				}
				began := time.Now()
				if _, err := f.read(t.Context(), tt.first); err != nil || time.Since(began) != tt.after {
					t.Errorf("it is believed after %s, with the error %v; want %s", time.Since(began), err, tt.after)
				}
			})
		})
	}
}
