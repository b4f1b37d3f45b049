// Package pathwatch tells when a path may lead to something else than before.
//
//	w := pathwatch.New()
//	defer w.Close()
//	for {
//		err := w.Aim(path) // before looking at it
//		look(path)
//		select {
//		case <-w.Changed():
//		case <-poll: // for what no notification comes
//		}
//	}
//
// It watches folders, never the file itself: editors replace files by renaming,
// Kubernetes swaps a symbolic link in the middle of the path, and what isn't
// there yet can't be watched.
//
// Notifications are an accelerator, and callers poll besides: some file systems
// (NFS) give none, the kernel's limits may allow no watch, and a rename further
// up in the path than its folder is not seen.
//
// # Concurrency
//
// A Watcher belongs to one goroutine.
package pathwatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// rounds bounds how often Aim looks where the paths lead while that changes.
const rounds = 3

// A Watcher watches the folders that some paths lead through.
type Watcher struct {
	changed chan struct{} // of capacity 1
	notify  *fsnotify.Watcher
	watched map[string]fs.FileInfo
	forward sync.WaitGroup
}

// New returns a watcher that watches nothing yet.
func New() *Watcher { return &Watcher{changed: make(chan struct{}, 1)} }

// Changed returns the channel on which something is received after a change:
// once for all changes since the last time.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Aim watches where the paths, which must be absolute, lead now, and nothing
// else any more. Every change after it is notified. Its error says what can't be
// watched, and that the caller has to poll; the rest is watched, and the next
// Aim tries again.
func (w *Watcher) Aim(paths ...string) error {
	if err := w.open(); err != nil {
		return err
	}
	for range rounds {
		want := map[string]fs.FileInfo{}
		for _, path := range paths {
			for _, folder := range folders(path) {
				want[folder], _ = os.Stat(folder) // nil: gone again, which the next round sees
			}
		}
		changed, err := w.watch(want)
		if !changed || err != nil {
			return err
		}
	}
	w.wake() // it changes as fast as we look: look again
	return nil
}

// Close ends all watching and returns when that has ended. It may be called
// again.
func (w *Watcher) Close() {
	if w.notify == nil {
		return
	}
	_ = w.notify.Close() // nothing is lost by what it could say
	w.forward.Wait()
	w.notify = nil
}

func (w *Watcher) open() error {
	if w.notify != nil {
		return nil
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("pathwatch: no notification of changed files: %w", err)
	}
	w.notify, w.watched = n, map[string]fs.FileInfo{}
	w.forward.Go(func() {
		for {
			select {
			case _, ok := <-n.Events:
				if !ok {
					return
				}
			case _, ok := <-n.Errors: // an overflow, say: something has changed
				if !ok {
					return
				}
			}
			w.wake()
		}
	})
	return nil
}

func (w *Watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// watch makes want what is watched, and reports whether it wasn't yet.
func (w *Watcher) watch(want map[string]fs.FileInfo) (changed bool, err error) {
	var errs []error
	live := w.notify.WatchList() // without those that have been deleted or moved
	for folder, was := range w.watched {
		is := want[folder]
		if is == nil || !os.SameFile(was, is) {
			_ = w.notify.Remove(folder) // it may be gone already
			delete(w.watched, folder)
		} else if !slices.Contains(live, folder) { // the same inode again, or so it seems
			delete(w.watched, folder)
		}
	}
	for folder, is := range want {
		if _, ok := w.watched[folder]; ok {
			continue
		}
		changed = true
		if err := w.notify.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("pathwatch: no notification of changes in %s: %w", folder, err))
		} else if err == nil && is != nil {
			w.watched[folder] = is
		}
	}
	return changed, errors.Join(errs...)
}
