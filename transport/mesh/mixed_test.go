package mesh

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestARequestBesideBulk: small requests while messages of 16 MiB stream both
// ways are all answered, none takes long, and no heartbeat is missed.
func TestARequestBesideBulk(t *testing.T) {
	const size, heartbeat = 16 << 20, 200 * time.Millisecond
	var bytes atomic.Int64
	bulky := func(c *Config) {
		c.Heartbeat, c.DownAfter = heartbeat, 10*heartbeat
		c.Handlers = map[string]Handler{"bulk": func(_ context.Context, m Message) { bytes.Add(int64(len(m.Data))) }}
		c.Responders = map[string]Responder{"echo": func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil }}
	}
	a, b := listen(t, bulky), listen(t, bulky)
	connect(t, a, b)
	events := [...]<-chan Event{a.Events(t.Context()), b.Events(t.Context())}
	const least = 3 * time.Second
	load, stop := context.WithTimeout(t.Context(), least+patience) // of which a busy machine takes more
	defer stop()
	var senders sync.WaitGroup
	for _, pair := range [][2]*Mesh{{a, b}, {b, a}} {
		senders.Go(func() {
			data := make([]byte, size)
			for load.Err() == nil {
				if err := pair[0].Send(load, pair[1].Self(), "bulk", data); err != nil && load.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	var took []time.Duration
	for start := time.Now(); load.Err() == nil && (time.Since(start) < least || bytes.Load() < size); {
		began := time.Now()
		if _, err := a.Request(t.Context(), b.Self(), "echo", make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	stop()
	senders.Wait()
	slices.Sort(took)
	p50, p99, worst := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("%d requests beside %d MiB: p50 %s, p99 %s, the longest %s", len(took), bytes.Load()>>20, p50, p99, worst)
	if bytes.Load() < size || worst > 10*heartbeat {
		t.Error("there is no bulk, or a request waits for it")
	}
	for _, ch := range events {
		<-ch // the snapshot
		for len(ch) > 0 {
			t.Errorf("the link flapped: %+v", <-ch)
		}
	}
}
