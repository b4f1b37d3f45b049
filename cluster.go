// Package cluster makes the instances of a service find each other, connect,
// and stay connected.
//
// A [Supervisor] runs one goroutine for each [Topology]. A topology's
// [Strategy] discovers nodes, and what it finds is connected and disconnected
// through a [Transport]: the TCP mesh of package transport/mesh by default, or
// three funcs of one's own.
//
//	sup, err := cluster.Start(ctx, []cluster.Topology{{
//		Name:     "web",
//		Strategy: static.Strategy{Hosts: []string{"10.0.0.1:4370", "10.0.0.2:4370"}},
//	}})
//
// # What always holds
//
// A failure to look nodes up never removes one. A node that an answer no longer
// lists is disconnected only once it has been missing for the remove grace (30
// seconds). A node that is wanted is dialled for ever, and one that can't be
// reached delays no other. This node is never connected to itself. The tests
// named TestRule state all of these rules.
//
// # Who sees whom
//
// [Supervisor.WaitNodes] waits for a number of nodes, [Supervisor.WaitConverged]
// until the cluster is as whole as it gets. When nodes keep disagreeing about who
// is linked with whom, the event [Diverged] names the pairs that aren't.
//
// # Concurrency
//
// All exported functions and methods may be called from any goroutine, hooks
// and strategies included, except that a hook or a strategy that calls
// [Supervisor.Wait] waits for itself. Strategies, transports and funcs are
// called without a lock held, each call on a goroutine that may block: their
// contexts say when it has to end.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// What the options are when they aren't given.
const (
	defaultRemoveGrace       = 30 * time.Second
	defaultHintTTL           = 10 * time.Minute
	defaultConnectTimeout    = 5 * time.Second
	defaultReconcileInterval = 5 * time.Second
	defaultStopTimeout       = 10 * time.Second
	defaultMaxConnects       = 1024
)

// An Option changes how a supervisor works.
type Option func(*options)

type options struct {
	transport         Transport
	log               *slog.Logger
	removeGrace       time.Duration
	hintTTL           time.Duration
	connectTimeout    time.Duration
	reconcileInterval time.Duration
	stopTimeout       time.Duration
	maxConnects       int
}

// WithTransport sets the transport of the topologies that have none of their
// own. Without it, Start makes a mesh from the environment if one is needed.
func WithTransport(t Transport) Option { return func(o *options) { o.transport = t } }

// WithLogger sets where transitions are logged: a node that comes or goes, the
// first failure and the recovery. Without it, or with nil, slog.Default.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithRemoveGrace sets how long a node must be missing from a source's answers,
// without a break, before it is disconnected: 30 seconds by default. Zero means
// at once.
func WithRemoveGrace(d time.Duration) Option { return func(o *options) { o.removeGrace = d } }

// WithHintTTL sets after what time a node that was only heard of, and whose
// link is down, is no longer dialled: 10 minutes by default, and never while the
// source fails.
func WithHintTTL(d time.Duration) Option { return func(o *options) { o.hintTTL = d } }

// WithConnectTimeout bounds each call of Connect, Disconnect and ListNodes: 5
// seconds by default.
func WithConnectTimeout(d time.Duration) Option { return func(o *options) { o.connectTimeout = d } }

// WithReconcileInterval sets how often ListNodes is asked: every 5 seconds by
// default. A [transport.Notifier] is asked at once when something changes, and
// this often besides.
func WithReconcileInterval(d time.Duration) Option {
	return func(o *options) { o.reconcileInterval = d }
}

// WithStopTimeout sets how long Wait waits, after the stop, for calls of user
// code that don't return: 10 seconds by default.
func WithStopTimeout(d time.Duration) Option { return func(o *options) { o.stopTimeout = d } }

// WithMaxConnects bounds the calls of Connect that are under way on one
// transport: 1024 by default. Retries use at most half of them.
func WithMaxConnects(n int) Option { return func(o *options) { o.maxConnects = n } }

func newOptions(opts []Option) (options, error) {
	o := options{
		removeGrace:       defaultRemoveGrace,
		hintTTL:           defaultHintTTL,
		connectTimeout:    defaultConnectTimeout,
		reconcileInterval: defaultReconcileInterval,
		stopTimeout:       defaultStopTimeout,
		maxConnects:       defaultMaxConnects,
	}
	for _, set := range opts {
		if set != nil {
			set(&o)
		}
	}
	if o.log == nil {
		o.log = slog.Default()
	}
	return o, o.validate()
}

func (o *options) validate() error {
	var errs []error
	if o.removeGrace < 0 {
		errs = append(errs, fmt.Errorf("cluster: WithRemoveGrace(%s): want zero or more", o.removeGrace))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"WithHintTTL", o.hintTTL},
		{"WithConnectTimeout", o.connectTimeout},
		{"WithReconcileInterval", o.reconcileInterval},
		{"WithStopTimeout", o.stopTimeout},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("cluster: %s(%s): want more than zero", d.name, d.value))
		}
	}
	if o.maxConnects < 2 {
		errs = append(errs, fmt.Errorf("cluster: WithMaxConnects(%d): want at least 2, one of which is for retries", o.maxConnects))
	}
	if o.transport != nil {
		if err := validateShared(o.transport); err != nil {
			errs = append(errs, fmt.Errorf("cluster: WithTransport: the transport is %w", err))
		}
	}
	return errors.Join(errs...)
}

// Start runs one goroutine for each topology until ctx is done or Stop is
// called. Its error names every topology or option that is wrong, the field,
// its value, and what would be right; nothing runs then. There may be no
// topologies at all: Apply adds some later. If ctx is done before anything runs,
// the error is [ErrStopped] and wraps ctx's cause.
func Start(ctx context.Context, topologies []Topology, opts ...Option) (*Supervisor, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, errors.Join(err, validate(slices.Clone(topologies)))
	}
	return start(ctx, topologies, o)
}

// Run is Start and Wait in one, for errgroup and other supervisors: it returns
// nil when ctx is done and all has ended, even if ctx was done before anything ran.
func Run(ctx context.Context, topologies []Topology, opts ...Option) error {
	sup, err := Start(ctx, topologies, opts...)
	switch {
	case errors.Is(err, ErrStopped):
		return nil
	case err != nil:
		return err
	}
	return sup.Wait()
}
