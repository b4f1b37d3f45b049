package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// pageSize is how many objects one answer to a list holds. It bounds what
	// those of a large namespace take, since little is kept of each.
	pageSize = 500
	// shortest is how long a watch goes on at least that isn't broken, and maxShort
	// how many in a row may be shorter, if they had anything to tell.
	shortest = time.Second
	maxShort = 3
	// steady is how long a watch has gone on after which its end begins a new
	// series of failures.
	steady = 10 * time.Second

	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second
)

var errShort = errors.New("the watch has ended at once")

// A watcher keeps a section of the board in step with the objects of a namespace.
//
// It lists and watches as the reflector of client-go does, and not by that, since
// the reflector is made to keep a cache warm: it tells nobody of most failures,
// waits out others by itself, and holds all objects of a list at once.
type watcher struct {
	open      func(context.Context) (*Client, error)
	source    Source
	namespace string
	labels    string
	fields    string
	portName  string
	cached    bool
	relist    time.Duration
	timeout   time.Duration // see times.answer
	board     *board
	section   *section
}

// run lists and watches until ctx is done.
func (w *watcher) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		well, err := w.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
			continue
		case well >= steady:
			failures = 0
		}
		w.board.fail(w.section, err)
		failures++
		if !sleep(ctx, pause(failures, err, rand.Float64())) {
			return
		}
	}
}

// pass lists once and watches until the next list is due, or until something
// fails: then only another list tells for sure what has gone meanwhile. well is
// how long the watch went on.
func (w *watcher) pass(ctx context.Context) (well time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := w.open(ctx)
	if err != nil {
		return 0, err
	}
	objects := client.open(w.source, w.namespace)
	version, listed, err := w.list(ctx, objects)
	if err != nil {
		return 0, w.failed(objects, "list", err)
	}
	w.board.list(w.section, listed)
	began := time.Now()
	relist := time.NewTimer(time.Duration(float64(w.relist) * (0.9 + 0.2*rand.Float64())))
	defer relist.Stop()
	err = w.follow(ctx, objects, version, relist.C)
	return time.Since(began), err
}

// follow watches from a version on, one watch after the other, until a list is due.
func (w *watcher) follow(ctx context.Context, objects objects, version string, relist <-chan time.Time) error {
	for short := 0; ; {
		began := time.Now()
		next, due, err := w.watch(ctx, objects, version, relist)
		switch {
		case err != nil:
			return w.failed(objects, "watch", err)
		case due:
			return nil
		case time.Since(began) >= shortest:
			short = 0
		case short == maxShort-1:
			return w.failed(objects, "watch", errShort)
		default:
			short++
			if !sleep(ctx, retryMin) {
				return ctx.Err()
			}
		}
		version = next
	}
}

func (w *watcher) failed(objects objects, verb string, err error) error {
	return &RequestError{Verb: verb, Source: w.source, Namespace: w.namespace, Err: err, given: objects.where() == ""}
}

// silent is why a request is given up.
func (w *watcher) silent(objects objects) error {
	if server := objects.where(); server != "" {
		return fmt.Errorf("%s has not answered within %s", server, w.timeout)
	}
	return fmt.Errorf("the API server has not answered within %s; or it refused, and Client tried again by itself, as client-go does when the server says when (Retry-After)", w.timeout)
}

// list returns the endpoints of all objects by the objects' names, and the version
// from which to watch.
func (w *watcher) list(ctx context.Context, objects objects) (version string, all map[string]entry, err error) {
	opts := metav1.ListOptions{LabelSelector: w.labels, FieldSelector: w.fields, Limit: pageSize}
	if w.cached {
		opts.ResourceVersion = "0"
	}
	all = map[string]entry{}
	for {
		page, err := w.page(ctx, objects, opts)
		if opts.Continue != "" && isExpired(err) { // it took too long to come to this page
			clear(all)
			opts.Continue, opts.Limit = "", 0
			continue
		}
		if err != nil {
			return "", nil, err
		}
		if err := meta.EachListItem(page, func(o runtime.Object) error {
			name, kept, err := w.source.extract(o, w.portName)
			all[name] = kept
			return err
		}); err != nil {
			return "", nil, err
		}
		m, err := meta.ListAccessor(page)
		if err != nil {
			return "", nil, err
		}
		if opts.Continue = m.GetContinue(); opts.Continue == "" {
			return m.GetResourceVersion(), all, nil
		}
		opts.ResourceVersion = "" // that of the first page goes on
	}
}

func (w *watcher) page(ctx context.Context, objects objects, opts metav1.ListOptions) (runtime.Object, error) {
	silent := w.silent(objects)
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, silent)
	defer cancel()
	page, err := objects.list(ctx, opts)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), silent):
		return nil, silent
	case err != nil:
		return nil, err
	}
	return page, w.source.checkList(page)
}

// watch follows the objects from a version on, until the server ends the watch in
// good order, or a list is due. It returns the version from which to go on.
func (w *watcher) watch(ctx context.Context, objects objects, version string, relist <-chan time.Time) (next string, due bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events, err := w.begin(ctx, cancel, objects, version)
	if err != nil {
		return "", false, err
	}
	defer events.Stop()
	w.board.well(w.section)
	began, told := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return "", false, ctx.Err()
		case <-relist:
			return version, true, nil
		case event, ok := <-events.ResultChan():
			if !ok {
				if !told && time.Since(began) < shortest {
					return "", false, errShort
				}
				return version, false, nil
			}
			if version, err = w.take(event); err != nil {
				return "", false, err
			}
			told = told || event.Type != watch.Bookmark
		}
	}
}

// begin starts a watch, which goes on until ctx is done.
func (w *watcher) begin(ctx context.Context, cancel context.CancelCauseFunc, objects objects, version string) (watch.Interface, error) {
	silent := w.silent(objects)
	late := time.AfterFunc(w.timeout, func() { cancel(silent) })
	defer late.Stop()
	// The server would end it after half an hour or so.
	seconds := int64(2 * w.relist / time.Second)
	events, err := objects.watch(ctx, metav1.ListOptions{
		LabelSelector: w.labels, FieldSelector: w.fields, ResourceVersion: version,
		AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil && errors.Is(context.Cause(ctx), silent) {
		return nil, silent
	}
	return events, err
}

// take puts an event on the board and returns its version.
func (w *watcher) take(event watch.Event) (version string, err error) {
	if event.Type == watch.Error {
		return "", apierrors.FromObject(event.Object)
	}
	m, err := meta.Accessor(event.Object)
	if err != nil {
		return "", fmt.Errorf("the API server sent a %s of %T: %w", event.Type, event.Object, err)
	}
	if event.Type == watch.Bookmark {
		return m.GetResourceVersion(), nil
	}
	name, kept, err := w.source.extract(event.Object, w.portName)
	switch {
	case err != nil:
		return "", err
	case event.Type == watch.Deleted:
		w.board.remove(w.section, name)
	default:
		w.board.change(w.section, name, kept)
	}
	return m.GetResourceVersion(), nil
}

// isExpired reports whether a version is older than what the server still knows.
func isExpired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// pause is how long to wait after so many failures in a row, of which the last may
// say so itself (Retry-After). random, in [0,1), is the source of the jitter.
func pause(failures int, err error, random float64) time.Duration {
	d := min(retryMin<<min(failures-1, 16), retryMax)
	d = d/2 + time.Duration(random*float64(d/2))
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		d = max(d, min(time.Duration(seconds)*time.Second, retryMax))
	}
	return d
}

// sleep waits for d, and reports false if ctx is done before that.
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
