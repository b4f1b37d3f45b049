package mesh

import "time"

// A bucket holds tokens for what may happen only so often. It is pure data.
type bucket struct {
	most      float64
	perSecond float64
	tokens    float64
	filled    time.Time
}

func newBucket(most, perSecond float64, now time.Time) bucket {
	return bucket{most: most, perSecond: perSecond, tokens: most, filled: now}
}

// take takes tokens, or says how long it is until there will be enough, which
// is never zero.
func (b *bucket) take(price float64, now time.Time) (wait time.Duration) {
	b.fill(now)
	if b.tokens >= price {
		b.tokens -= price
		return 0
	}
	missing := time.Duration((price - b.tokens) / b.perSecond * float64(time.Second))
	return missing.Truncate(time.Millisecond) + time.Millisecond
}

// giveBack returns tokens that were taken.
func (b *bucket) giveBack(price float64) { b.tokens = min(b.most, b.tokens+price) }

func (b *bucket) fill(now time.Time) {
	b.tokens = min(b.most, b.tokens+b.perSecond*now.Sub(b.filled).Seconds())
	b.filled = now
}
