package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
)

// calls are the calls of user code under way, for Wait to name those that
// don't return.
type calls struct {
	mu    sync.Mutex
	next  int
	under map[int]call
	ended signal.Signal // rung whenever a call has ended
}

type call struct {
	what  string
	began time.Time
}

// begin notes a call; the func that it returns, that it has ended.
func (c *calls) begin(what string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under == nil {
		c.under = map[int]call{}
	}
	id := c.next
	c.next++
	c.under[id] = call{what, time.Now()}
	return func() {
		c.mu.Lock()
		delete(c.under, id)
		c.mu.Unlock()
		c.ended.Ring()
	}
}

// protect calls what the user wrote, on a goroutine of its own: that may end by a
// panic, or by runtime.Goexit as t.FailNow does, either of which is an error. onPanic,
// unless it is nil, is called on that goroutine while it still has the panic's stack.
func protect(what string, f func() error, onPanic func(p any)) error {
	ended := make(chan error, 1)
	go func() {
		err := fmt.Errorf("cluster: %s ended its goroutine, by runtime.Goexit or t.FailNow, instead of returning", what)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("cluster: %s panicked: %v", what, p)
				if onPanic != nil {
					onPanic(p)
				}
			}
			ended <- err
		}()
		err = f()
	}()
	return <-ended
}

// wait returns once no call is under way. Unlike with a WaitGroup, one may begin
// meanwhile, and is waited for too.
func (c *calls) wait() {
	for {
		ended := c.ended.Wait()
		c.mu.Lock()
		under := len(c.under)
		c.mu.Unlock()
		if under == 0 {
			return
		}
		<-ended
	}
}

// stuck names what hasn't returned, the longest first. It is never empty.
func (c *calls) stuck(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var under []call
	for _, u := range c.under {
		under = append(under, u)
	}
	if len(under) == 0 {
		return "no call of user code is under way, so this is a mistake of package cluster"
	}
	slices.SortFunc(under, func(a, b call) int { return a.began.Compare(b.began) })
	var text []string
	for _, u := range under {
		text = append(text, fmt.Sprintf("%s has not returned for %s", u.what, now.Sub(u.began).Round(time.Millisecond)))
	}
	return strings.Join(text, "; ")
}
