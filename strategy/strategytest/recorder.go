package strategytest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

// label is the key of the label that tells whose a goroutine is.
const label = "strategytest.run"

// restartAfter is the least backoff of a supervisor.
const restartAfter = 100 * time.Millisecond

// A recorder keeps the changes that a strategy tells, in order.
type recorder struct {
	mu      sync.Mutex
	changes []cluster.Change
	late    []cluster.Change // those that came when the context was done
	more    chan struct{}    // closed at the next change
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{})} }

func (r *recorder) add(ctx context.Context, c cluster.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
	if ctx.Err() != nil {
		r.late = append(r.late, c)
	}
	close(r.more)
	r.more = make(chan struct{})
}

// mark is where the next change will be.
func (r *recorder) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.changes)
}

// since returns the changes from mark on, and what is closed when there is one
// more. What is recorded is never changed.
func (r *recorder) since(mark int) ([]cluster.Change, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes[mark:len(r.changes):len(r.changes)], r.more
}

// afterCancel returns the changes that were told when the context was done.
func (r *recorder) afterCancel() []cluster.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late
}

// A run is a strategy that is being run, as a supervisor does it: again after
// an error, which is a failure.
type run struct {
	*recorder

	strategy cluster.Strategy
	before   []goroutine // that lived when it was started; nil: others begin beside
	cancel   func()
	done     chan struct{} // closed when Run won't be called again
	panicked error         // before done is closed
}

// startRun starts s; before are the goroutines that live, and nil if others
// begin beside.
func startRun(ctx context.Context, s cluster.Strategy, self cluster.Node, before []goroutine) *run {
	r := &run{recorder: newRecorder(), strategy: s, before: before, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	labels := pprof.Labels(label, r.id())
	go pprof.Do(ctx, labels, func(ctx context.Context) {
		defer close(r.done)
		r.loop(ctx, self)
	})
	r.cancel = func() {
		// Who cancels a context starts what waits for that by context.AfterFunc.
		var labelled sync.WaitGroup
		labelled.Go(func() { pprof.Do(ctx, labels, func(context.Context) { cancel() }) })
		labelled.Wait()
	}
	return r
}

func (r *run) loop(ctx context.Context, self cluster.Node) {
	for {
		err := r.once(ctx, self)
		if err == nil || r.panicked != nil || ctx.Err() != nil {
			return
		}
		r.add(ctx, cluster.Change{Kind: cluster.Failed, Err: err})
		wait := time.NewTimer(restartAfter)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

func (r *run) once(ctx context.Context, self cluster.Node) error {
	defer func() {
		if p := recover(); p != nil {
			r.panicked = fmt.Errorf("Run panicked: %v\n%s", p, debug.Stack())
		}
	}()
	roster := cluster.NewRoster(self, nil, func(c cluster.Change) { r.add(ctx, c) })
	defer roster.Close()
	return r.strategy.Run(ctx, roster)
}

// id is the value of the label.
func (r *run) id() string { return fmt.Sprintf("%p", r) }

// goroutines returns the stacks of the goroutines that the run has started and
// that still live, as a goroutine profile prints them: goroutines of the same
// stack and labels are one record, with blank lines between records. If there are
// none, it returns those that have lost the label.
func (r *run) goroutines() []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{"no goroutine profile: " + err.Error()}
	}
	var stacks []string
	pair := strconv.Quote(label) + ":" + strconv.Quote(r.id())
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(record, pair) {
			stacks = append(stacks, record)
		}
	}
	if len(stacks) == 0 && r.before != nil {
		return strays(r.before, r.strategy)
	}
	return stacks
}
