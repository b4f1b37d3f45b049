package mesh

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	repeatAfter = 10 * time.Minute
	repeatKinds = 1024
)

// A repeater logs a thing once in a while, however often it happens: what
// somebody on the network can cause at will must not fill the disk.
type repeater struct {
	mu   sync.Mutex
	seen map[string]*repeated
}

type repeated struct {
	logged time.Time
	since  int
}

// log logs at most every ten minutes for each message and value of the first
// attribute; the next line then says how many it left out.
func (r *repeater) log(to *slog.Logger, level slog.Level, msg, key, value string, more ...any) {
	left, ok := r.due(msg+"\x00"+value, time.Now())
	if !ok {
		return
	}
	args := append([]any{key, value}, more...)
	if left > 0 {
		args = append(args, "repeated", left)
	}
	to.Log(context.Background(), level, msg, args...)
}

func (r *repeater) due(what string, now time.Time) (left int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]*repeated{}
	}
	if e := r.seen[what]; e != nil {
		if now.Sub(e.logged) < repeatAfter {
			e.since++
			return 0, false
		}
		left, e.since, e.logged = e.since, 0, now
		return left, true
	}
	if len(r.seen) >= repeatKinds {
		r.forget(now)
		if len(r.seen) >= repeatKinds {
			return 0, false
		}
	}
	r.seen[what] = &repeated{logged: now}
	return 0, true
}

func (r *repeater) forget(now time.Time) {
	for k, e := range r.seen {
		if now.Sub(e.logged) >= repeatAfter {
			delete(r.seen, k)
		}
	}
}
