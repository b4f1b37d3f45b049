package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequest(t *testing.T) {
	logs := newLogBook(nil)
	a, other := listen(t, nil), listen(t, nil)
	b := listen(t, func(c *Config) {
		c.Logger, c.MaxMessage = slog.New(logs), 100_000
		c.Responders = map[string]Responder{
			"echo":   func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil },
			"who":    func(_ context.Context, m Message) ([]byte, error) { return []byte(m.From + " " + "to " + "who"), nil },
			"panics": func(context.Context, Message) ([]byte, error) { panic("told to") },
			"fails":  func(context.Context, Message) ([]byte, error) { return []byte("not this"), errors.New("out of stock") },
			"wordy":  func(context.Context, Message) ([]byte, error) { return nil, errors.New(strings.Repeat("x", 5000)) },
			"vast":   func(context.Context, Message) ([]byte, error) { return make([]byte, 100_001), nil },
		}
		c.Handlers = map[string]Handler{"messages": func(context.Context, Message) {}}
	})
	connect(t, a, b)
	remote := func(text string) func(error) bool {
		return func(err error) bool {
			var re *RemoteError
			return errors.As(err, &re) && re.Text == text
		}
	}
	big := strings.Repeat("0123456789", 10_000)
	tests := []struct {
		subject, data string
		want          string
		wrong         func(error) bool // nil if it goes well
	}{
		{subject: "echo", data: "hello", want: "hello"},
		{subject: "echo"},
		{subject: "echo", data: big, want: big},
		{subject: "who", want: string(a.Self()) + " to who"},
		{subject: "nobody", wrong: is(ErrNoHandler)},
		{subject: "messages", wrong: is(ErrNoHandler)},
		{subject: "panics", wrong: is(ErrPanicked)},
		{subject: "fails", wrong: remote("out of stock")},
		{subject: "wordy", wrong: remote(strings.Repeat("x", maxErrorText))},
		{subject: "vast", wrong: is(ErrTooLarge)},
		{subject: "", wrong: is(ErrSubject)},
		{subject: "echo", data: strings.Repeat("x", a.cfg.MaxMessage+1), wrong: is(ErrTooLarge)},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s of %d bytes", tt.subject, len(tt.data)), func(t *testing.T) {
			reply, err := a.Request(t.Context(), b.Self(), tt.subject, []byte(tt.data))
			var ne *NodeError
			switch {
			case tt.wrong == nil && (err != nil || string(reply) != tt.want):
				t.Errorf("%.100q, %v; want %.100q", reply, err, tt.want)
			case tt.wrong != nil && (!tt.wrong(err) || !errors.As(err, &ne) || ne.Op != "request" || ne.Node != b.Self()):
				t.Errorf("%.100q, %v", reply, err)
			}
		})
	}
	if _, err := a.Request(t.Context(), other.Self(), "echo", nil); !errors.Is(err, ErrNoNode) {
		t.Errorf("a node that isn't linked: %v, want ErrNoNode", err)
	}
	if err := b.Respond("echo", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Request(t.Context(), b.Self(), "echo", nil); !errors.Is(err, ErrNoHandler) {
		t.Errorf("a responder that was removed: %v, want ErrNoHandler", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := logs.lines("a handler panicked"); n != 1 {
		t.Errorf("the panic is logged %d times where it happened, want once", n)
	}
	if _, err := b.Request(t.Context(), a.Self(), "echo", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed mesh: %v, want ErrClosed", err)
	}
}

// TestRequestIsGivenUp: with the context, and at once when the node goes down,
// its link breaks or this mesh closes. What is replied later is dropped.
func TestRequestIsGivenUp(t *testing.T) {
	tests := []struct {
		name string
		end  func(cancel func(), a, b *Mesh)
		want error
	}{
		{"the context", func(cancel func(), _, _ *Mesh) { cancel() }, context.Canceled},
		{"the link breaks", func(_ func(), _, b *Mesh) { breakLinks(b) }, ErrDown},
		{"the node leaves", func(_ func(), _, b *Mesh) { go b.Close() }, ErrDown},
		{"disconnected", func(_ func(), a, b *Mesh) { _ = a.Disconnect(context.Background(), b.Self()) }, ErrDown},
		{"this mesh closes", func(_ func(), a, _ *Mesh) { go a.Close() }, ErrClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked, release, replied := make(chan struct{}), make(chan struct{}), make(chan struct{})
			a := listen(t, nil)
			b := listen(t, func(c *Config) {
				c.Responders = map[string]Responder{
					"slow": func(context.Context, Message) ([]byte, error) {
						close(asked)
						<-release
						defer close(replied)
						return []byte("late"), nil
					},
					"quick": func(context.Context, Message) ([]byte, error) { return []byte("quick"), nil },
				}
			})
			connect(t, a, b)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				<-asked
				tt.end(cancel, a, b)
			}()
			_, err := a.Request(ctx, b.Self(), "slow", nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			close(release)
			<-replied
			if !errors.Is(tt.want, context.Canceled) {
				return
			}
			if reply, err := a.Request(t.Context(), b.Self(), "quick", nil); err != nil || string(reply) != "quick" {
				t.Errorf("after a late reply: %q, %v", reply, err)
			}
		})
	}
}

// TestRequestsRunSideBySide, bounded; those beyond wait, and those beyond these
// are refused at once. The other subjects go on.
func TestRequestsRunSideBySide(t *testing.T) {
	const running, waiting = 4, 3
	release := make(chan struct{})
	var now, most atomic.Int32
	a := listen(t, nil)
	b := listen(t, func(c *Config) {
		c.MaxRequests, c.ReceiveQueue = running, waiting*(64+100)
		c.Responders = map[string]Responder{
			"slow": func(context.Context, Message) ([]byte, error) {
				most.Store(max(most.Load(), now.Add(1)))
				<-release
				now.Add(-1)
				return []byte("done"), nil
			},
			"quick": func(context.Context, Message) ([]byte, error) { return nil, nil },
		}
	})
	connect(t, a, b)
	const all = 2 * (running + waiting)
	errs := make(chan error, all)
	var callers sync.WaitGroup
	for range all {
		callers.Go(func() {
			_, err := a.Request(t.Context(), b.Self(), "slow", make([]byte, 100))
			errs <- err
		})
	}
	for range all - running - waiting {
		if err := <-errs; !errors.Is(err, ErrOverloaded) {
			t.Errorf("beyond the bounds: %v, want ErrOverloaded", err)
		}
	}
	if n := b.Stats().Overloaded; n != all-running-waiting {
		t.Errorf("it counts %d requests that it refused, want %d", n, all-running-waiting)
	}
	if _, err := a.Request(t.Context(), b.Self(), "quick", nil); err != nil {
		t.Errorf("another subject: %v", err)
	}
	close(release)
	callers.Wait()
	for range running + waiting {
		if err := <-errs; err != nil {
			t.Errorf("within the bounds: %v", err)
		}
	}
	if n := most.Load(); n != running {
		t.Errorf("%d ran at once, want %d", n, running)
	}
}

// TestARequestOutlastsACrossing: links that replace each other lose no request
// and no reply.
func TestARequestOutlastsACrossing(t *testing.T) {
	t.Parallel()
	a := listen(t, nil)
	b := listen(t, func(c *Config) {
		c.Responders = map[string]Responder{"echo": func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil }}
	})
	connect(t, a, b)
	ctx, end := context.WithTimeout(t.Context(), 3*patience)
	defer end()
	stop, cancel := context.WithCancel(ctx)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			data := make([]byte, i*30_000) // half of them in parts
			for stop.Err() == nil {
				if reply, err := a.Request(ctx, b.Self(), "echo", data); err != nil || len(reply) != len(data) {
					t.Errorf("%d bytes come back as %d, %v", len(data), len(reply), err)
					return
				}
			}
		})
	}
	var dialers sync.WaitGroup
	dialers.Go(func() { dialOften(t, t.Context(), a, b.Self().Addr(), 50) })
	dialers.Go(func() { dialOften(t, t.Context(), b, a.Self().Addr(), 50) })
	dialers.Wait()
	cancel()
	callers.Wait()
}

// TestARequestToWhoDoesntAnswer ends with its context to the tick, and the link
// stays up meanwhile.
func TestARequestToWhoDoesntAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a := net.listen(t, 0, nil)
		b := net.listen(t, 1, func(c *Config) {
			c.Responders = map[string]Responder{"never": func(ctx context.Context, _ Message) ([]byte, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}}
		})
		connect(t, a, b)
		const limit = 10 * time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began := time.Now()
		_, err := a.Request(ctx, b.Self(), "never", nil)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrQueueFull) || took != limit {
			t.Errorf("%v after %s, want %v after %s", err, took, context.DeadlineExceeded, limit)
		}
		if peerCount(a) != 1 {
			t.Error("the link went down")
		}
	})
}

// TestRequestsAcrossAReconnect: MaxRequests holds for a node that comes up again,
// too, and what waited when it went down is dropped.
func TestRequestsAcrossAReconnect(t *testing.T) {
	tests := []struct {
		name string
		end  func(a, b *Mesh)
	}{
		{"its link breaks", func(_, b *Mesh) { breakLinks(b) }},
		{"it is disconnected", func(a, b *Mesh) { _ = b.Disconnect(context.Background(), a.Self()) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, calls := newFakeNet(), newTally()
				b := net.listen(t, 0, func(c *Config) {
					c.MaxRequests = 1
					c.Responders = map[string]Responder{"s": calls.respond}
				})
				a := net.listen(t, 1, nil)
				ask := func(data string) {
					if _, err := a.Request(t.Context(), b.Self(), "s", []byte(data)); err != nil && !errors.Is(err, ErrDown) {
						t.Error(err)
					}
				}
				large := strings.Repeat("x", 2*maxWhole)
				for _, first := range []string{"1", "2", "3"} {
					connect(t, b, a)
					go ask(first)
					synctest.Wait()
					go ask(large)
					synctest.Wait()
					if b.large.used.Load() == 0 {
						t.Error("the large request hasn't come")
					}
					tt.end(a, b)
					time.Sleep(2 * partTimeout)
				}
				if n := b.large.used.Load(); n != 0 {
					t.Errorf("requests of who is gone hold %d bytes of ReceiveLarge", n)
				}
				connect(t, b, a)
				go ask("4")
				synctest.Wait()
				close(calls.hold)
				synctest.Wait()
				if got, most := calls.sofar(); most != 1 || !slices.Equal(got, []string{"1", "4"}) {
					t.Errorf("%d at once, %.50q; want 1 and then 4", most, got)
				}
			})
		})
	}
}
