package mesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// TestSlowHandler: while a handler sleeps under full load for a minute, the
// link stays up and other subjects flow; what doesn't fit into the sleeper's
// queue is dropped and counted. But at night, a tenth of the minute holds as many
// heartbeats.
func TestSlowHandler(t *testing.T) {
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
	load, stop := context.WithTimeout(t.Context(), minute+patience) // of which a busy machine takes more
	defer stop()
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for load.Err() == nil {
				_ = a.Send(load, b.Self(), "slow", make([]byte, 1024))
			}
		})
	}
	answered, began := 0, time.Now()
	full := func() bool { return answered >= 100 && b.Stats().Dropped >= 1000 }
	for ; load.Err() == nil && (time.Since(began) < minute || !full()); answered++ {
		if err := a.Send(t.Context(), b.Self(), "quick", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-quick:
		case <-time.After(patience):
			t.Fatal("the other subject waits for the slow one")
		}
	}
	stop()
	senders.Wait()
	t.Logf("%d quick messages, %d slow ones dropped", answered, b.Stats().Dropped)
	if !full() {
		t.Errorf("%d quick messages came and %d slow ones were dropped: no full load", answered, b.Stats().Dropped)
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
	var read batch
	for range 10_000 {
		in.deliver([]byte("s"), nil, 0, &read)
	}
	in.flush(&read)
	in.mu.Lock()
	defer in.mu.Unlock()
	if q := in.queues["s"]; len(q.items) > 1024+1 || m.Stats().Dropped < 8000 {
		t.Errorf("%d messages wait, %d are dropped", len(q.items), m.Stats().Dropped)
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

// TestAGoneHandlerLeavesNothing: subjects may come and go, as those of replies do.
func TestAGoneHandlerLeavesNothing(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	connect(t, a, b)
	for i := range 100 {
		subject := fmt.Sprint("s", i)
		got := make(chan struct{})
		if err := b.Handle(subject, func(context.Context, Message) { close(got) }); err != nil {
			t.Fatal(err)
		}
		if err := a.Send(t.Context(), b.Self(), subject, nil); err != nil {
			t.Fatal(err)
		}
		<-got
		if err := b.Handle(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no queue is left", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.peers {
			p.in.mu.Lock()
			n := len(p.in.queues)
			p.in.mu.Unlock()
			if n > 0 {
				return false
			}
		}
		return true
	})
}

// TestGoexitIsContained: as t.FailNow in a handler is; the next message is
// delivered all the same, and the next request answered.
func TestGoexitIsContained(t *testing.T) {
	got := make(chan string, 3)
	a := listen(t, nil)
	b := listen(t, func(c *Config) {
		c.MaxRequests = 1
		c.Handlers = map[string]Handler{"s": func(_ context.Context, m Message) {
			if got <- string(m.Data); string(m.Data) == "exit" {
				runtime.Goexit()
			}
		}}
		c.Responders = map[string]Responder{"s": func(_ context.Context, m Message) ([]byte, error) {
			if string(m.Data) == "exit" {
				runtime.Goexit()
			}
			return m.Data, nil
		}}
	})
	connect(t, a, b)
	for _, data := range []string{"exit", "exit", "stay"} {
		if err := a.Send(t.Context(), b.Self(), "s", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"exit", "exit", "stay"} {
		select {
		case data := <-got:
			if data != want {
				t.Errorf("got %q, want %q", data, want)
			}
		case <-time.After(patience):
			t.Fatalf("%q is not delivered", want)
		}
	}
	if _, err := a.Request(t.Context(), b.Self(), "s", []byte("exit")); !errors.Is(err, ErrPanicked) {
		t.Errorf("a responder that ends its goroutine: %v, want ErrPanicked", err)
	}
	if reply, err := a.Request(t.Context(), b.Self(), "s", []byte("stay")); err != nil || string(reply) != "stay" {
		t.Errorf("the next request: %q, %v", reply, err)
	}
}

// TestNoNodeAndNodeDown are told apart, and so is this node itself.
func TestNoNodeAndNodeDown(t *testing.T) {
	a, left, lost := listen(t, nil), listen(t, nil), listen(t, nil)
	connect(t, a, left)
	connect(t, a, lost)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	_ = lost.listener.Close()
	until(t, a, "both are down", func() bool {
		breakLinks(lost)
		return len(a.Peers()) == 0
	})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		what   string
		ctx    context.Context
		to     transport.Node
		is     []error
		andNot error
	}{
		{"one that has left", t.Context(), left.Self(), []error{ErrNoNode, ErrDown}, transport.ErrSelf},
		{"one that is lost", t.Context(), lost.Self(), []error{ErrNoNode, ErrDown}, transport.ErrSelf},
		{"one never heard of", t.Context(), "127.0.0.1:9", []error{ErrNoNode}, ErrDown},
		{"itself", t.Context(), a.Self(), []error{transport.ErrSelf}, ErrNoNode},
		{"none, as it is too late", done, left.Self(), []error{context.Canceled}, ErrQueueFull},
	} {
		_, err := a.Request(tt.ctx, tt.to, "s", nil)
		for _, err := range []error{a.Send(tt.ctx, tt.to, "s", nil), err} {
			for _, want := range tt.is {
				if !errors.Is(err, want) || errors.Is(err, tt.andNot) {
					t.Errorf("%s: %v, want %v and not %v", tt.what, err, want, tt.andNot)
				}
			}
		}
	}
}

// TestOrderAcrossDisconnect: a node that was disconnected and connected again has
// its messages handled one at a time and in order, those from before first.
func TestOrderAcrossDisconnect(t *testing.T) {
	var mu sync.Mutex
	var got []string
	running, most := 0, 0
	let := make(chan struct{})
	b := listen(t, func(c *Config) {
		c.Handlers = map[string]Handler{"s": func(_ context.Context, m Message) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			if string(m.Data) == "1" {
				<-let
			}
			mu.Lock()
			running--
			got = append(got, string(m.Data))
			mu.Unlock()
		}}
	})
	a := listen(t, nil)
	connect(t, a, b)
	send := func(s string) {
		t.Helper()
		if err := a.Send(t.Context(), b.Self(), "s", []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	send("1")
	send("2")
	eventually(t, "both have come", func() bool {
		mu.Lock()
		defer mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		p := b.peers[a.self.instance]
		p.in.mu.Lock()
		defer p.in.mu.Unlock()
		q := p.in.queues["s"]
		return q != nil && q.bytes.Load() == itemHeader+1 && most == 1
	})
	_ = b.Disconnect(t.Context(), a.Self())
	until(t, a, "a sees it", func() bool { return !a.linked(b.self.instance) })
	connect(t, b, a)
	send("3")
	for late := time.Now().Add(time.Second); count() == 0 && time.Now().Before(late); {
		time.Sleep(5 * time.Millisecond) // in which a wrong call would fall
	}
	close(let)
	eventually(t, "all are handled", func() bool { return count() == 3 })
	if most > 1 || !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%d at once, in the order %q", most, got)
	}
}

// eventually waits for what nothing tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.After(patience); !ok(); {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}
