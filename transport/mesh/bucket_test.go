package mesh

import (
	"testing"
	"time"
)

// TestBucket: whoever comes back exactly when told pays for each token, though
// the sums are not exact.
func TestBucket(t *testing.T) {
	const most, perSecond = 32, 7
	began := time.Now()
	now := began
	b := newBucket(most, perSecond, now)
	taken := 0
	for now.Sub(began) < 100*time.Second {
		if wait := b.take(1, now); wait > 0 {
			now = now.Add(wait)
		} else {
			taken++
		}
	}
	if want := most + perSecond*100; taken > want || taken < want*99/100 {
		t.Errorf("%d tokens in 100 s, want about %d", taken, want)
	}
}
