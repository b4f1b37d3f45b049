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
// the first.
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
	wants    *wants // the group's lock guards what is in it
	roster   *Roster
	endRun   context.CancelFunc
	fresh    bool // the strategy has not been run yet
	heard    bool // it has said something: an answer, a failure or its end

	state       State
	lastSuccess time.Time
	lastFailure time.Time
	lastError   error
	failures    int
}

func newRunner(s *Supervisor, t Topology, g *group) *runner {
	r := &runner{sup: s, name: t.Name, topology: t, group: g, wants: newWants(t.Name), fresh: true, state: StateStarting}
	r.ctx, r.stop = context.WithCancel(s.ctx)
	g.update(func(c *core, _ time.Time) { c.wants = append(c.wants, r.wants) })
	return r
}

// change gives the runner another strategy, or another transport. What was
// found stays, and lingers until the new strategy's first answer; on another
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
	r.topology, r.fresh, r.heard = t, true, false
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
	log := r.sup.log.With(slog.String("topology", r.name))
	for attempts, runs := 0, 0; r.ctx.Err() == nil; runs++ {
		if runs > 0 {
			r.sup.publish(StrategyRestarted{Topology: r.name})
		}
		began := time.Now()
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
		if !r.failed(err) || r.answeredSince(began) && time.Since(began) >= goodRun {
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
	r.endRun, r.fresh = cancel, false
	if r.state != StateFailing && r.state != StateWaiting {
		r.state = StateStarting
	}
	g, w := r.group, r.wants
	_, self := g.current()
	r.roster = &Roster{
		self:    self,
		log:     log,
		take:    func(c Change) func() { return r.take(g, w, c) },
		confirm: func() time.Duration { return g.confirmWithin(w) },
	}
	return ctx, r.topology.Strategy, r.roster
}

func (r *runner) run(ctx context.Context, s Strategy, roster *Roster) (err error) {
	defer r.sup.calls.begin(fmt.Sprintf("topology %q: %s.Run", r.name, strategyName(s)))()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cluster: strategy %s panicked: %v", strategyName(s), p)
			r.logPanic(p, debug.Stack())
		}
	}()
	return s.Run(ctx, roster)
}

// logPanic logs the first of several panics in a row.
func (r *runner) logPanic(p any, stack []byte) {
	r.mu.Lock()
	failures := r.failures
	r.mu.Unlock()
	if failures == 0 {
		r.sup.log.Error("the strategy panicked", "topology", r.name, "panic", p, "stack", string(stack))
	}
}

// take is called under the roster's lock; what it returns is called after that.
func (r *runner) take(g *group, w *wants, c Change) (after func()) {
	g.update(func(_ *core, now time.Time) { w.apply(now, c) })
	if c.Kind == Failed {
		return r.noteFailure(c.Err, StateFailing)
	}
	defer r.sup.changed.Ring()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = true
	if c.Kind == Removed {
		return nil
	}
	failures := r.failures
	r.lastSuccess, r.failures, r.state = time.Now(), 0, StateRunning
	if failures == 0 {
		return nil
	}
	return func() {
		r.sup.log.Info("discovery works again", "topology", r.name, "failures", failures)
	}
}

func (r *runner) noteFailure(err error, state State) (after func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	r.heard = true
	r.lastFailure, r.lastError, r.state = time.Now(), err, state
	e := StrategyFailed{Topology: r.name, Failures: r.failures, Err: err}
	return func() { r.sup.publish(e) }
}

// failed notes that Run has returned an error. It reports false if there is
// another strategy by now.
func (r *runner) failed(err error) bool {
	if !r.note(func(w *wants) { w.fail() }) {
		return false
	}
	r.noteFailure(err, StateWaiting)()
	return true
}

// ended notes that Run has returned nil. It reports false if there is another
// strategy by now.
func (r *runner) ended() bool {
	if !r.note(func(w *wants) { w.ended, r.state, r.heard = true, StateEnded, true }) {
		return false
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

func (r *runner) answeredSince(t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastSuccess.After(t)
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

// confirmWithin is a third of the remove grace while an answer of nobody is
// waited out, so that a polled source is asked at least twice in it.
func (g *group) confirmWithin(w *wants) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !w.orphans() {
		return 0
	}
	return g.core.removeGrace / 3
}
