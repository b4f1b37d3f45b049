package dns

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxBeside is how many names are asked for at once.
const maxBeside = 16

var errEnded = errors.New("the goroutine of a question was ended (runtime.Goexit)")

// side calls f with each number below n, side by side, a few at a time. If one
// of them panics, so does side once all have returned: the supervisor recovers
// only what panics on the goroutine of Run. To end the goroutine, as t.Fatal of a
// test does, is as a panic: there is no result, which must not pass for one of
// nobody.
func side(n int, f func(i int)) {
	slots := make(chan struct{}, maxBeside)
	var wait sync.WaitGroup
	var once sync.Once
	var first *panicError
	for i := range n {
		slots <- struct{}{}
		wait.Go(func() {
			returned := false
			defer func() {
				p := recover()
				if p == nil && !returned {
					p = errEnded
				}
				if p != nil {
					once.Do(func() { first = newPanicError(p) })
				}
				<-slots
			}()
			f(i)
			returned = true
		})
	}
	wait.Wait()
	if first != nil {
		panic(first)
	}
}

// A panicError is what side panics with: the first panic, and where it was.
type panicError struct {
	value any
	stack []byte
}

// newPanicError is called while p is recovered. One that comes out of a side
// within another stays as it is.
func newPanicError(p any) *panicError {
	if e, ok := p.(*panicError); ok {
		return e
	}
	return &panicError{value: p, stack: debug.Stack()}
}

func (e *panicError) Error() string { return fmt.Sprintf("%v\n\n%s", e.value, e.stack) }

// Unwrap returns the value, if that is an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}
