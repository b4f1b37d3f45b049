package kubernetes

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// A group runs goroutines that end together: when the context is done, or when one
// of them panics. The supervisor recovers only what panics on the goroutine of
// Run, so that wait panics then.
type group struct {
	ctx    context.Context //nolint:containedctx // that of its goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	first  error // what a goroutine panicked with, and where
}

func newGroup(ctx context.Context) *group {
	ctx, cancel := context.WithCancel(ctx)
	return &group{ctx: ctx, cancel: cancel}
}

func (g *group) goes(f func(context.Context)) {
	g.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				g.once.Do(func() { g.first = fmt.Errorf("%v\n\n%s", p, debug.Stack()) })
				g.cancel()
			}
		}()
		f(g.ctx)
	})
}

// wait waits for all goroutines.
func (g *group) wait() {
	g.wg.Wait()
	g.cancel()
	if g.first != nil {
		panic(g.first)
	}
}
