package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what this process has used, in user and in system mode.
func cpuTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// monotonic is a clock that all processes of a machine share.
func monotonic() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// A Cost is what some work took.
type Cost struct{ CPU, Wall time.Duration }

// metered measures what this process does in f.
func metered(f func() error) (Cost, error) {
	debug.FreeOSMemory() // a collection: what was before isn't paid for here
	before, err := cpuTime()
	if err != nil {
		return Cost{}, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return Cost{}, err
	}
	wall := time.Since(began)
	after, err := cpuTime()
	return Cost{CPU: after - before, Wall: wall}, err
}

// collections make stacks shrink, by half each, and empty the pools.
const collections = 5

// A Footprint is what a process holds, in bytes.
type Footprint struct {
	Live float64 // objects on the heap, and stacks
	Held float64 // spans of the heap, with the gaps that garbage has left, and stacks
}

func (f Footprint) minus(other Footprint, links int) Footprint {
	return Footprint{
		Live: (f.Live - other.Live) / float64(links),
		Held: (f.Held - other.Held) / float64(links),
	}
}

// footprint measures this process.
func footprint() Footprint {
	for range collections {
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return Footprint{Live: float64(s.HeapAlloc + s.StackInuse), Held: float64(s.HeapInuse + s.StackInuse)}
}

// raiseFiles lets this process open as many files as it may.
func raiseFiles() error {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	r.Cur = r.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("setrlimit: %w", err)
	}
	return nil
}
