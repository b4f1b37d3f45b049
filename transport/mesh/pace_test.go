package mesh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// paced are dials that want to begin, in order.
type paced struct {
	t *testing.T
	p pace

	mu    sync.Mutex
	begun []int
	ends  []func()
}

func (d *paced) want(ctx context.Context, i int) {
	go func() {
		end, waited, err := d.p.begin(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil || waited != (i >= pacedAtOnce):
			d.t.Errorf("dial %d: %v, waited: %t", i, err, waited)
		default:
			d.begun, d.ends = append(d.begun, i), append(d.ends, end)
		}
	}()
	synctest.Wait()
}

func (d *paced) wantBegun(when string, want ...int) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.begun, want) {
		d.t.Errorf("%s: %v have begun, want %v", when, d.begun, want)
	}
}

// end ends the dial that has begun so manyeth.
func (d *paced) end(i int) {
	d.mu.Lock()
	end := d.ends[i]
	d.mu.Unlock()
	end()
}

// TestPace: a few dials go on side by side, the others follow in their order.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &paced{t: t}
		impatient, giveUp := context.WithCancel(t.Context())
		for i := range pacedAtOnce + 4 {
			ctx := t.Context()
			if i == pacedAtOnce+1 {
				ctx = impatient
			}
			d.want(ctx, i)
		}
		d.wantBegun("at first", 0, 1, 2, 3)
		d.end(2)
		d.end(2) // is nothing more
		d.wantBegun("after one has ended", 0, 1, 2, 3, 4)
		giveUp()
		d.wantBegun("after one has given up", 0, 1, 2, 3, 4)
		d.end(0)
		d.wantBegun("after another has ended", 0, 1, 2, 3, 4, 6)
		time.Sleep(pacedShort)
		d.wantBegun("when they take long", 0, 1, 2, 3, 4, 6, 7)
		for i := range d.begun {
			d.end(i)
		}
		if d.p.taken != 0 || len(d.p.waiting) != 0 {
			t.Errorf("in the end %d places are taken, and %d wait", d.p.taken, len(d.p.waiting))
		}
	})
}
