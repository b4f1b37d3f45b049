package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// goodRun is how long a Run that answered must last for its failure to count as
// the first, and for one that failed before to be over.
const goodRun = 30 * time.Second

// A runner runs one topology's strategy, again and again, on one goroutine.
type runner struct {
	sup  *Supervisor
	name string
	ctx  context.Context //nolint:containedctx // ends with the topology
	stop context.CancelFunc

	mu       sync.Mutex
	topology Topology // as it was given
	group    *group
	wants    *wants  // the group's lock guards what is in it
	roster   *Roster // the one that counts; nil between two strategies
	began    time.Time
	endRun   context.CancelFunc
	fresh    bool // the strategy has not been run yet
	heard    bool // it has said something: an answer, a failure or its end

	state       State
	lastSuccess time.Time
	lastFailure time.Time
	lastError   error
	failures    int  // since it last worked
	shaky       bool // a Run has failed since
}

func newRunner(s *Supervisor, t Topology, g *group) *runner {
	r := &runner{sup: s, name: t.Name, topology: t, group: g, wants: newWants(t.Name), fresh: true, state: StateStarting}
	r.ctx, r.stop = context.WithCancel(s.ctx)
	g.update(func(c *core, _ time.Time) { c.wants = append(c.wants, r.wants) })
	return r
}

// change gives the runner another strategy, or another transport. What was
// found stays wanted until the new strategy's first complete answer; on another
// transport it begins anew.
func (r *runner) change(t Topology, g *group) {
	r.closeRoster()
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.wants; g == r.group {
		g.update(func(*core, time.Time) { old.inherit() })
	} else {
		r.group.update(func(_ *core, now time.Time) { old.retire(now) })
		r.group, r.wants = g, newWants(r.name)
		g.update(func(c *core, _ time.Time) { c.wants = append(c.wants, r.wants) })
	}
	r.topology, r.fresh, r.heard, r.shaky, r.roster = t, true, false, false, nil
	if r.endRun != nil {
		r.endRun()
	}
}

// remove ends the runner. What it found is cut after the remove grace, unless
// another topology wants it.
func (r *runner) remove() {
	r.closeRoster()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
	r.roster = nil
	old := r.wants
	r.group.update(func(_ *core, now time.Time) { old.retire(now) })
}

func (r *runner) closeRoster() {
	r.mu.Lock()
	roster := r.roster
	r.mu.Unlock()
	if roster != nil {
		roster.Close()
	}
}

// loop runs until the topology is removed or the supervisor stops.
func (r *runner) loop() {
	log := r.logger()
	for attempts, runs := 0, 0; r.ctx.Err() == nil; runs++ {
		if runs > 0 {
			r.sup.publish(StrategyRestarted{Topology: r.name})
		}
		ctx, strategy, roster := r.begin(log)
		err := r.run(ctx, strategy, roster)
		roster.Close()
		if r.ctx.Err() != nil {
			break
		}
		if err == nil {
			if r.ended() {
				<-ctx.Done() // until there is another strategy
			}
			attempts = 0
			continue
		}
		if !r.failed(err) || r.wasGood() {
			attempts = 0
		}
		attempts++
		wait := time.NewTimer(backoff(attempts, rand.Float64()))
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	r.mu.Lock()
	r.state = StateStopped
	r.mu.Unlock()
}

// begin prepares one Run. Its context ends when another strategy comes.
func (r *runner) begin(log *slog.Logger) (context.Context, Strategy, *Roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.endRun != nil {
		r.endRun()
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.endRun, r.fresh, r.began = cancel, false, time.Now()
	if r.state != StateFailing && r.state != StateWaiting {
		r.state = StateStarting
	}
	_, self := r.group.current()
	var roster *Roster
	roster = &Roster{self: self, log: log, confirm: func() time.Duration { return r.confirmWithin(roster) }}
	roster.take = func(c Change) func() { return r.take(roster, c) }
	r.roster = roster
	return ctx, r.topology.Strategy, roster
}

func (r *runner) run(ctx context.Context, s Strategy, roster *Roster) error {
	defer r.sup.calls.begin(fmt.Sprintf("topology %q: %s.Run", r.name, strategyName(s)))()
	ctx, over := context.WithCancel(ctx)
	defer over()
	r.sup.run(func() { r.prove(ctx) })
	return protect("strategy "+strategyName(s), func() error { return s.Run(ctx, roster) }, func(p any) { r.logPanic(p, debug.Stack()) })
}

// logger is the strategy's, which needs no queue.
func (r *runner) logger() *slog.Logger {
	defer r.sup.calls.begin("the logger's WithAttrs")()
	return r.sup.opts.log.With(slog.String("topology", r.name))
}

// prove notes, while a Run goes on, that it has done so for long enough.
func (r *runner) prove(ctx context.Context) {
	long := time.NewTimer(goodRun)
	defer long.Stop()
	select {
	case <-ctx.Done():
		return
	case <-long.C:
	}
	if told := r.proven(ctx); told != nil {
		told()
	}
}

func (r *runner) proven(ctx context.Context) (after func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || r.state != StateRunning {
		return nil // the next answer tells
	}
	return r.works()
}

// works notes that the strategy answers and has not failed lately. It is called
// under mu, what it returns is not.
func (r *runner) works() (after func()) {
	failures := r.failures
	r.failures, r.shaky = 0, false
	if failures == 0 {
		return nil
	}
	return func() {
		r.sup.log.Info("discovery works again", "topology", r.name, "failures", failures)
	}
}

// logPanic logs the first of several panics in a row.
func (r *runner) logPanic(p any, stack []byte) {
	r.mu.Lock()
	again := r.shaky
	r.mu.Unlock()
	if !again {
		r.sup.log.Error("the strategy panicked", "topology", r.name, "panic", p, "stack", string(stack))
	}
}

// take is called under the roster's lock; what it returns is called after that.
// It takes nothing from a Run that was told to end: the answer would count as the
// next strategy's, and a failure on the way out is none.
func (r *runner) take(roster *Roster, c Change) (after func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if roster != r.roster || r.ctx.Err() != nil {
		return nil
	}
	r.heard = true
	defer r.sup.changed.Ring()
	r.group.update(func(_ *core, now time.Time) { r.wants.apply(now, c) })
	switch c.Kind {
	case Failed:
		return r.noteFailure(c.Err, StateFailing)
	case Removed:
		return nil
	default:
		r.lastSuccess, r.state = time.Now(), StateRunning
		if r.shaky && time.Since(r.began) < goodRun {
			return nil // not before prove
		}
		return r.works()
	}
}

// noteFailure is called under mu, what it returns is not.
func (r *runner) noteFailure(err error, state State) (after func()) {
	r.failures++
	r.heard = true
	r.lastFailure, r.lastError, r.state = time.Now(), err, state
	e := StrategyFailed{Topology: r.name, Failures: r.failures, Err: err}
	return func() { r.sup.publish(e) }
}

// failed notes that Run has returned an error. It reports false if there is
// another strategy by now.
func (r *runner) failed(err error) bool {
	var publish func()
	if !r.note(func(w *wants) {
		w.fail()
		publish, r.shaky = r.noteFailure(err, StateWaiting), true
	}) {
		return false
	}
	publish()
	return true
}

// ended notes that Run has returned nil. It reports false if there is another
// strategy by now.
func (r *runner) ended() bool {
	var told func()
	if !r.note(func(w *wants) {
		if r.state == StateRunning {
			told = r.works()
		}
		w.end()
		r.state, r.heard = StateEnded, true
	}) {
		return false
	}
	if told != nil {
		told()
	}
	r.sup.publish(StrategyEnded{Topology: r.name})
	return true
}

// note changes what is wanted, unless that is another strategy's by now.
func (r *runner) note(change func(w *wants)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fresh {
		return false
	}
	r.group.update(func(*core, time.Time) { change(r.wants) })
	return true
}

// wasGood reports whether the latest Run has answered, and was a long one.
func (r *runner) wasGood() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.lastSuccess.Before(r.began) && time.Since(r.began) >= goodRun
}

func (r *runner) status() TopologyStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.group.mu.Lock()
	defer r.group.mu.Unlock()
	return TopologyStatus{
		Name: r.name, Strategy: strategyName(r.topology.Strategy), State: r.state,
		LastSuccess: r.lastSuccess, LastFailure: r.lastFailure, LastError: r.lastError, Failures: r.failures,
		ListError: r.group.core.listErr, Isolated: r.group.core.isolated(r.wants), Nodes: r.group.core.nodeStatuses(r.wants),
	}
}

// confirmWithin is what a roster's ConfirmWithin says, and takes note of who asks.
func (r *runner) confirmWithin(roster *Roster) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if roster != r.roster {
		return 0
	}
	r.group.mu.Lock()
	defer r.group.mu.Unlock()
	r.wants.polled = true
	if c := r.group.core; r.wants.unconfirmed(c.leads) {
		return confirmWithin(c.removeGrace)
	}
	return 0
}
