package mesh

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A few handshakes of this node's dials go on side by side: more would all take
// longer, and hold memory meanwhile; and once they take longer than
// Config.HandshakeTimeout, they are begun again and again. But those that take long
// because hosts don't answer, or are far away, and not because there is much to
// do, let the next begin after a short while.
const (
	pacedAtOnce = 4
	pacedShort  = 50 * time.Millisecond
	pacedLong   = time.Second
	pacedBusy   = time.Millisecond // who gives way for so long shares the processors with many
)

// A pace lets dials begin in the order in which they come.
type pace struct {
	mu      sync.Mutex
	taken   int // places
	waiting []chan struct{}
}

// begin waits for a place, which end gives back. It tells if it had to wait.
func (p *pace) begin(ctx context.Context) (end func(), waited bool, err error) {
	turn := make(chan struct{})
	p.mu.Lock()
	p.waiting = append(p.waiting, turn)
	p.next()
	waited = len(p.waiting) > 0
	p.mu.Unlock()
	select {
	case <-turn:
		return p.hold(), waited, nil
	case <-ctx.Done():
		p.giveUp(turn)
		return nil, waited, context.Cause(ctx)
	}
}

// hold gives a place back after a while, or when end is called.
func (p *pace) hold() (end func()) {
	giveBack := sync.OnceFunc(p.giveBack)
	began, late := time.Now(), make(chan *time.Timer, 1)
	timer := time.AfterFunc(pacedShort, func() {
		timer := <-late
		now := time.Now()
		runtime.Gosched()
		if time.Since(now) < pacedBusy || now.Sub(began) >= pacedLong {
			giveBack()
			return
		}
		late <- timer
		timer.Reset(pacedShort)
	})
	late <- timer
	return func() {
		timer.Stop()
		giveBack()
	}
}

// next gives the places that are free to those who wait. The caller holds mu.
func (p *pace) next() {
	for p.taken < pacedAtOnce && len(p.waiting) > 0 {
		p.taken++
		close(p.waiting[0])
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
}

func (p *pace) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.next()
}

// giveUp is for one whose time is over, which may have got a place just now.
func (p *pace) giveUp(turn chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	p.taken--
	p.next()
}
