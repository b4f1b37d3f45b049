package dns_test

import "time"

// lateness measures how late this machine is, until the func is called, which
// returns that: a busy machine is no strategy's fault. A ticker beside is as late
// as what else waits for a processor.
func lateness() func() time.Duration {
	const period = 10 * time.Millisecond
	done, measured := make(chan struct{}), make(chan time.Duration)
	go func() { // until the func is called
		tick := time.NewTicker(period)
		defer tick.Stop()
		late := time.Duration(0)
		for last := time.Now(); ; {
			select {
			case <-tick.C:
				if gap := time.Since(last); gap > 2*period {
					late += gap - period
				}
				last = time.Now()
			case <-done:
				measured <- late
				return
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return <-measured
	}
}
