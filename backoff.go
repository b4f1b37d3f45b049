package cluster

import "time"

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 30 * time.Second
)

// backoffCeiling is the longest wait after so many failures: 100 ms, doubled
// with each, up to 30 s.
func backoffCeiling(failures int) time.Duration {
	d := backoffMin
	for ; failures > 1 && d < backoffMax; failures-- {
		d *= 2
	}
	return min(d, backoffMax)
}

// backoff is the wait with full jitter, of which random, in [0,1), is the
// source: any time up to the ceiling is as likely. See
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
func backoff(failures int, random float64) time.Duration {
	return time.Duration(random * float64(backoffCeiling(failures)))
}
