// Package logqueue lets code log while it holds a lock or runs a loop that must
// not wait: the user's handler is called later, from a goroutine of its own.
//
//	log := logqueue.New(cfg.Logger, wg.Go)
//	mu.Lock()
//	log.Info("peer up", "node", n) // only queues
//	mu.Unlock()
//
// # Concurrency
//
// The logger may be used from any goroutine. Lines reach the user's handler one
// at a time and in order. The goroutine that hands them over lives only while
// there are any.
//
// # What it doesn't keep of log/slog's contract
//
// What a line holds is read later, so it must not be changed any more. The
// handler gets none of the caller's context. Enabled is always true, since asking
// the handler is user's code too: a line below its level is queued and then left
// out. So this is for code that knows what it logs, and not for the user's.
package logqueue

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// limit is how many lines may wait. Further ones are left out, and counted.
	limit = 1024
	// limitDebug is limit for lines below Info: the handler may not want them at
	// all, so they leave room for the others.
	limitDebug = limit / 2
)

// New returns a logger whose lines reach the handler of to a little later.
// start has to run its argument on a goroutine and to wait for it in the end.
// It is called with a lock held, so it must not log, and at any time, so it must
// not be a WaitGroup's Go unless nobody logs any more once that is waited for.
// The levels that the handler isn't enabled for are left out as ever.
func New(to *slog.Logger, start func(f func())) *slog.Logger {
	return slog.New(handler{to: to.Handler(), queue: &queue{start: start}})
}

type handler struct {
	to    slog.Handler
	queue *queue
}

// Enabled leaves the question for later: the user's answer is user's code.
func (h handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle queues a line.
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.queue.put(line{h.to, r.Clone()})
	return nil
}

// WithAttrs calls the user's handler, so it isn't for code under a lock.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.to.WithAttrs(attrs), h.queue}
}

// WithGroup calls the user's handler, so it isn't for code under a lock.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.to.WithGroup(name), h.queue}
}

type line struct {
	to     slog.Handler
	record slog.Record
}

func (l line) write() {
	ctx := context.Background()
	if l.to.Enabled(ctx, l.record.Level) {
		_ = l.to.Handle(ctx, l.record) // as log/slog does
	}
}

type queue struct {
	start func(f func())

	mu      sync.Mutex
	lines   []line
	left    map[slog.Level]int // lines that didn't fit
	running bool
}

func (q *queue) put(l line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := limit
	if l.record.Level < slog.LevelInfo {
		room = limitDebug
	}
	if len(q.lines) >= room {
		if q.left == nil {
			q.left = map[slog.Level]int{}
		}
		q.left[l.record.Level]++
		return
	}
	q.lines = append(q.lines, l)
	if !q.running {
		q.running = true
		q.start(q.run)
	}
}

func (q *queue) run() {
	for {
		lines, left := q.take()
		if len(lines) == 0 {
			return
		}
		for _, l := range lines {
			l.write()
		}
		tellLeft(lines[0].to, left)
	}
}

// tellLeft says how many lines are missing of those that would have been written.
func tellLeft(to slog.Handler, left map[slog.Level]int) {
	sum := 0
	for level, n := range left {
		if to.Enabled(context.Background(), level) {
			sum += n
		}
	}
	if sum == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were left out: they came faster than they could be written", 0)
	r.AddAttrs(slog.Int("lines", sum))
	line{to, r}.write()
}

// take returns what is queued; without lines, the goroutine ends.
func (q *queue) take() (lines []line, left map[slog.Level]int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, left = q.lines, q.left
	q.lines, q.left = nil, nil
	q.running = len(lines) > 0
	return lines, left
}
