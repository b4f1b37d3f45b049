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
package logqueue

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limit is how many lines may wait. Further ones are left out, and counted.
const limit = 1024

// New returns a logger whose lines reach the handler of to a little later.
// start has to run its argument on a goroutine and to wait for it in the end.
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
	left    int // lines that didn't fit
	running bool
}

func (q *queue) put(l line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) >= limit {
		q.left++
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
		if left > 0 {
			r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were left out: they came faster than they could be written", 0)
			r.AddAttrs(slog.Int("lines", left))
			line{lines[0].to, r}.write()
		}
	}
}

// take returns what is queued; without lines, the goroutine ends.
func (q *queue) take() (lines []line, left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, left = q.lines, q.left
	q.lines, q.left = nil, 0
	q.running = len(lines) > 0
	return lines, left
}
