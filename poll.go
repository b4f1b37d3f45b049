package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// pollTimeoutMin is the least time that a lookup of Poll gets.
const pollTimeoutMin = 5 * time.Second

// Poll makes a strategy of a func: lookup is called at once and then at every
// interval, give or take a tenth, and what it returns is the whole,
// authoritative answer. Each call gets a context with a timeout of interval,
// but of at least 5 seconds. After an error it is called again sooner: first
// after about 100 ms, then twice as late each time, up to interval. After an
// answer of nobody it is called again within [Roster.ConfirmWithin], and no node
// is given up before it has answered twice more, however long that takes.
//
// interval must be positive, and lookup not nil: Start says so otherwise. Since
// funcs can't be compared, Apply takes every Poll for a changed strategy, which
// cuts nobody.
func Poll(interval time.Duration, lookup func(ctx context.Context) ([]Node, error)) Strategy {
	return poll{interval, lookup}
}

type poll struct {
	interval time.Duration
	lookup   func(ctx context.Context) ([]Node, error)
}

// Validate implements the optional method of [Strategy].
func (p poll) Validate() error {
	var errs []error
	if p.interval <= 0 {
		errs = append(errs, fmt.Errorf("interval is %s; want a positive one, such as 5s", p.interval))
	}
	if p.lookup == nil {
		errs = append(errs, errors.New("lookup is nil; want a func that returns the nodes"))
	}
	return errors.Join(errs...)
}

func (p poll) strategyName() string { return fmt.Sprintf("cluster.Poll(%s)", p.interval) }

// Run implements [Strategy].
func (p poll) Run(ctx context.Context, r *Roster) error {
	for failures := 0; ; {
		nodes, err := p.ask(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end is no failure
		}
		if err != nil {
			failures++
			r.Fail(err)
		} else {
			failures = 0
			r.Replace(nodes)
		}
		wait := time.NewTimer(p.pause(failures, r.ConfirmWithin(), rand.Float64()))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

func (p poll) ask(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, max(p.interval, pollTimeoutMin))
	defer cancel()
	return p.lookup(ctx)
}

// pause is how long to wait before the next lookup. confirm, if not zero, is
// how soon an answer of nobody is to be asked for again.
func (p poll) pause(failures int, confirm time.Duration, random float64) time.Duration {
	d := time.Duration(float64(p.interval) * (0.9 + 0.2*random))
	if failures > 0 {
		d = min(d, backoffCeiling(failures)*4/5+time.Duration(random*0.4*float64(backoffCeiling(failures))))
	}
	if confirm > 0 {
		d = min(d, confirm)
	}
	return d
}
