package gossip

import "time"

// A bucket lets rate events a second pass, and as many at once after a pause of
// a second. A new one is full.
type bucket struct {
	rate   float64
	tokens float64
	filled time.Time
}

func newBucket(now time.Time, rate int) bucket {
	return bucket{rate: float64(rate), tokens: float64(rate), filled: now}
}

// take reports whether one may pass now.
func (b *bucket) take(now time.Time) bool {
	b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// next is when the next one may pass, if none may now.
func (b *bucket) next() time.Time {
	wait := (1 - b.tokens) / b.rate
	return b.filled.Add(time.Duration(wait*float64(time.Second)) + time.Microsecond) // rounding must not fall short
}
