package mesh

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSlowHandler: while a handler sleeps under full load for a minute, the
// link stays up and other subjects flow; what doesn't fit into the sleeper's
// queue is dropped and counted. But at night, a tenth of the minute holds as many
// heartbeats.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	scale := time.Duration(10)
	if os.Getenv("CLUSTER_NIGHTLY") != "" {
		scale = 1
	}
	quickly := func(c *Config) { c.Heartbeat, c.DownAfter = defaultHeartbeat/scale, defaultDownAfter/scale }
	minute := time.Minute / scale
	release, quick := make(chan struct{}), make(chan Message, 1)
	a := listen(t, quickly)
	b := listen(t, func(c *Config) {
		quickly(c)
		c.Handlers = map[string]Handler{
			"slow":  func(context.Context, Message) { <-release },
			"quick": func(_ context.Context, m Message) { quick <- m },
		}
	})
	defer close(release)
	connect(t, a, b)
	events := [...]<-chan Event{a.Events(t.Context()), b.Events(t.Context())}
	load, stop := context.WithTimeout(t.Context(), minute)
	defer stop()
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for load.Err() == nil {
				_ = a.Send(load, b.Self(), "slow", make([]byte, 1024))
			}
		})
	}
	answered := 0
	for ; load.Err() == nil; answered++ {
		if err := a.Send(t.Context(), b.Self(), "quick", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-quick:
		case <-time.After(patience):
			t.Fatal("the other subject waits for the slow one")
		}
	}
	senders.Wait()
	t.Logf("%d quick messages, %d slow ones dropped", answered, b.dropped.Load())
	if answered < 100 || b.dropped.Load() < 1000 {
		t.Errorf("%d quick messages came and %d slow ones were dropped: no full load", answered, b.dropped.Load())
	}
	for _, ch := range events {
		<-ch // the snapshot
		for len(ch) > 0 {
			t.Errorf("the link flapped: %+v", <-ch)
		}
	}
}

// TestEmptyMessagesAreBounded: they take memory too.
func TestEmptyMessagesAreBounded(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	m := listen(t, func(c *Config) {
		c.ReceiveQueue = 64 << 10
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) { <-release }}
	})
	in := inbox{m: m, from: "a:1"}
	for range 10_000 {
		in.deliver([]byte("s"), nil, 0, &recent{})
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if q := in.queues["s"]; len(q.items) > 1024+1 || m.dropped.Load() < 8000 {
		t.Errorf("%d messages wait, %d are dropped", len(q.items), m.dropped.Load())
	}
}

// TestAPanicIsContained: the next message is delivered all the same.
func TestAPanicIsContained(t *testing.T) {
	var calls atomic.Int32
	done := make(chan struct{})
	a := listen(t, nil)
	b := listen(t, func(c *Config) {
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) {
			if calls.Add(1) == 1 {
				panic("told to")
			}
			close(done)
		}}
	})
	connect(t, a, b)
	for range 2 {
		if err := a.Send(t.Context(), b.Self(), "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("nothing is delivered after a panic")
	}
}
