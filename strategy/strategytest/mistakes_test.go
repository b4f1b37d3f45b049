package strategytest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

// The strategies of this file are wrong on purpose. What is wrong is told
// before what is right, so that the suite can't miss it.

func replacesOnFault(r *cluster.Roster, nodes []cluster.Node, _ error) { r.Replace(nodes) }

func replacesAndFails(r *cluster.Roster, nodes []cluster.Node, err error) {
	r.Replace(nodes)
	r.Fail(err)
}

func hintsOnFault(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		r.Add()
	}
	right(r, nodes, err)
}

func hintsAlways(r *cluster.Roster, nodes []cluster.Node, _ error) { r.Add(nodes...) }

func swallows(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil {
		r.Replace(nodes)
	}
}

func panicsOnFault(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		panic("on purpose")
	}
	r.Replace(nodes)
}

func dropsEmpty(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil || len(nodes) > 0 {
		right(r, nodes, err)
	}
}

func replacesParts(r *cluster.Roster, nodes []cluster.Node, err error) {
	for i := range nodes {
		r.Replace(nodes[:i])
	}
	right(r, nodes, err)
}

func makesUp(r *cluster.Roster, nodes []cluster.Node, err error) {
	r.Add("10.9.9.9:4370")
	right(r, nodes, err)
}

func failsOnSelf(r *cluster.Roster, nodes []cluster.Node, err error) {
	if slices.Contains(nodes, r.Self()) {
		err = errors.New("this node is listed")
	}
	right(r, nodes, err)
}

func failsOnTwice(r *cluster.Roster, nodes []cluster.Node, err error) {
	if len(slices.Compact(slices.Sorted(slices.Values(nodes)))) < len(nodes) {
		err = errors.New("a node is listed twice")
	}
	right(r, nodes, err)
}

func failsAnyway(r *cluster.Roster, nodes []cluster.Node, err error) {
	r.Fail(errBroken)
	right(r, nodes, err)
}

func replacesAndHints(r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil {
		r.Replace(nodes)
	}
	hinting(r, nodes, err)
}

// A state is what a mistaken strategy knows of the same Run.
type state struct {
	last   []cluster.Node
	first  []cluster.Node
	ever   []cluster.Node
	told   bool
	faults int // in a row
	failed bool
}

// stateful makes a strategy that asks and tells.
func stateful(tell func(s *state, r *cluster.Roster, nodes []cluster.Node, err error)) func(*fake) cluster.Strategy {
	return func(f *fake) cluster.Strategy {
		return runFunc(func(ctx context.Context, r *cluster.Roster) error {
			var s state
			return polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
				tell(&s, r, nodes, err)
				if err != nil {
					s.failed = true
					s.faults++
					return nil //nolint:nilerr // it has been told
				}
				s.last, s.told, s.faults = nodes, true, 0
				return nil
			})(ctx, r)
		})
	}
}

func removesOnFault(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		r.Remove(s.last...)
	}
	right(r, nodes, err)
}

func repeatsOnFault(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil && s.told {
		r.Replace(s.last)
	}
	right(r, nodes, err)
}

func givesUp(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if s.faults >= 3 {
		r.Replace(nil)
	}
	right(r, nodes, err)
}

func nobodyAtStart(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil && !s.told {
		r.Replace(nil)
		return
	}
	right(r, nodes, err)
}

func failsOnce(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil || !s.failed {
		right(r, nodes, err)
	}
}

func tellsNews(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil || !s.told || !slices.Equal(nodes, s.last) {
		right(r, nodes, err)
	}
}

func ignoresChanges(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil && s.first == nil {
		s.first = nodes
	}
	right(r, s.first, err)
}

func ignoresNewHints(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil && s.first == nil {
		s.first = nodes
	}
	hinting(r, s.first, err)
}

func onlyGrows(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	s.ever = append(s.ever, nodes...)
	right(r, s.ever, err)
}

// keepsAll has nobody ever be cut.
func keepsAll(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err != nil {
		r.Fail(err)
		return
	}
	s.ever = append(s.ever, nodes...)
	r.Replace(nodes, s.ever...)
}

func removesAll(s *state, r *cluster.Roster, nodes []cluster.Node, err error) {
	if err == nil && !slices.Equal(nodes, s.last) {
		r.Remove(s.last...)
	}
	right(r, nodes, err)
}

func neverRecovers(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		err := polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
			right(r, nodes, err)
			return err
		})(ctx, r)
		<-ctx.Done()
		return err
	})
}

func endsOnFault(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		_ = polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
			swallows(r, nodes, err)
			return err
		})(ctx, r)
		return nil
	})
}

func returnsEarly(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		_ = polling(f, func(r *cluster.Roster, nodes []cluster.Node, err error) error {
			right(r, nodes, err)
			if err == nil {
				return errors.New("that is all")
			}
			return nil
		})(ctx, r)
		return nil
	})
}

// late is later than a Run may return.
const late = 3 * endsWithin

func ignoresCancel(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		defer time.Sleep(late)
		return telling(right)(f).Run(ctx, r)
	})
}

func looksUpToTheEnd(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		for {
			time.Sleep(late)
			nodes, err := f.lookup(context.WithoutCancel(ctx))
			right(r, nodes, err)
			if !sleep(ctx, interval) {
				return nil
			}
		}
	})
}

func leaks(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		go func() { <-f.over }()
		return telling(right)(f).Run(ctx, r)
	})
}

func timerLeaks(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		time.AfterFunc(0, func() { <-f.over })
		return telling(right)(f).Run(ctx, r)
	})
}

// timerStarts leaks a goroutine whose starter is gone, which a timer started.
func timerStarts(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		time.AfterFunc(0, func() { go func() { <-f.over }() })
		return telling(right)(f).Run(ctx, r)
	})
}

func contextLeaks(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		context.AfterFunc(ctx, func() { <-f.over })
		return telling(right)(f).Run(ctx, r)
	})
}

func replacesAtTheEnd(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		defer func() {
			r.Replace(nil)
			r.Fail(ctx.Err())
		}()
		return telling(right)(f).Run(ctx, r)
	})
}

func removesAtTheEnd(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		nodes, _, _, _ := f.watch()
		defer r.Remove(nodes...)
		return telling(right)(f).Run(ctx, r)
	})
}

func neverEnds(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		r.Replace(f.nodes)
		<-ctx.Done()
		return nil
	})
}

func endsAndLeaks(f *fake) cluster.Strategy {
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		go func() { <-f.over }()
		return answering(f).Run(ctx, r)
	})
}

func panics(*fake) cluster.Strategy {
	return runFunc(func(context.Context, *cluster.Roster) error { panic("on purpose") })
}

type invalid struct{}

func (invalid) Validate() error                            { return errBroken }
func (invalid) Run(context.Context, *cluster.Roster) error { return errBroken }

// remembers tells news, and takes what another Run has told for old.
func remembers(f *fake) cluster.Strategy {
	var mu sync.Mutex
	var s state
	return telling(func(r *cluster.Roster, nodes []cluster.Node, err error) {
		mu.Lock()
		defer mu.Unlock()
		tellsNews(&s, r, nodes, err)
		s.last, s.told = nodes, err == nil
	})(f)
}

// sharesRoster has all Runs tell the roster of the last.
func sharesRoster(f *fake) cluster.Strategy {
	var mu sync.Mutex
	var shared *cluster.Roster
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		mu.Lock()
		shared = r
		mu.Unlock()
		return telling(func(_ *cluster.Roster, nodes []cluster.Node, err error) {
			mu.Lock()
			defer mu.Unlock()
			right(shared, nodes, err)
		})(f).Run(ctx, r)
	})
}

// sharesEnd has all Runs end with the first that does.
func sharesEnd(f *fake) cluster.Strategy {
	var mu sync.Mutex
	var running int
	var shared context.Context
	var cancel context.CancelFunc
	return runFunc(func(ctx context.Context, r *cluster.Roster) error {
		mu.Lock()
		if running == 0 {
			shared, cancel = context.WithCancel(context.WithoutCancel(ctx)) //nolint:fatcontext // that is the mistake
		}
		running++
		end := cancel
		defer context.AfterFunc(ctx, end)()
		ctx = shared
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running--
			end()
		}()
		_ = telling(right)(f).Run(ctx, r)
		return nil
	})
}
