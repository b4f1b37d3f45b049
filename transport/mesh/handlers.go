package mesh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/libcluster-go/cluster/internal/signal"
)

// handlers are the user's funcs by subject, and the goroutines that run them.
type handlers struct {
	table atomic.Pointer[map[string]*entry] // never changed: replaced

	mu    sync.Mutex
	busy  map[string]int // goroutines that run user's code, by name
	idle  signal.Signal  // rung when one ends
	count int            // goroutines
}

// An entry is what the user has set for a subject. It isn't changed.
type entry struct {
	subject string
	name    string // for people
	handle  Handler
	respond Responder
}

func (h *handlers) init(c *Config) {
	h.busy = map[string]int{}
	h.table.Store(&map[string]*entry{})
	for subject, f := range c.Handlers {
		h.change(subject, func(e *entry) { e.handle = f })
	}
	for subject, f := range c.Responders {
		h.change(subject, func(e *entry) { e.respond = f })
	}
}

// find returns what is set for a subject; nil if nothing is.
func (h *handlers) find(subject string) *entry { return (*h.table.Load())[subject] }

// change sets a subject's funcs.
func (h *handlers) change(subject string, change func(*entry)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := entry{subject: subject, name: strconv.Quote(subject)}
	table := maps.Clone(*h.table.Load())
	if old := table[subject]; old != nil {
		e = *old
	}
	if change(&e); e.handle == nil && e.respond == nil {
		delete(table, subject)
	} else {
		table[subject] = &e
	}
	h.table.Store(&table)
}

// begin notes a goroutine that is about to run user's code of that name, which
// may be empty.
func (h *handlers) begin(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	if name != "" {
		h.busy[name]++
	}
}

// end is called as that goroutine ends.
func (h *handlers) end(name string) {
	h.mu.Lock()
	h.count--
	if name != "" {
		if h.busy[name]--; h.busy[name] == 0 {
			delete(h.busy, name)
		}
	}
	h.mu.Unlock()
	h.idle.Ring()
}

func (h *handlers) start(worker func()) {
	h.begin("")
	go func() {
		defer h.end("")
		worker()
	}()
}

// ask calls one of Config's funcs, and waits for its answer, until ctx is done, or
// for the end of the mesh, for which such a func must not be waited without a
// bound: it may be the one that calls Close.
func ask[T any](ctx context.Context, m *Mesh, name string, f func() T) (answer T, err error) {
	answers := make(chan T, 1)
	m.handlers.begin(name)
	go func() {
		defer m.handlers.end(name)
		answers <- f()
	}()
	select {
	case answer = <-answers:
		return answer, nil
	case <-m.ctx.Done():
		return answer, ErrClosed
	case <-ctx.Done():
		return answer, context.Cause(ctx)
	}
}

// wait returns once no code of the user's runs, or with what still does when ctx
// is done: handlers by subject, and Config's funcs by name.
func (h *handlers) wait(ctx context.Context) error {
	for {
		rung := h.idle.Wait()
		h.mu.Lock()
		count := h.count
		names := slices.Sorted(maps.Keys(h.busy))
		h.mu.Unlock()
		if count == 0 {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			if len(names) == 0 {
				names = []string{"Config.Logger"}
			}
			return fmt.Errorf("%w: %s", ErrHandlerBusy, strings.Join(names, ", "))
		}
	}
}
