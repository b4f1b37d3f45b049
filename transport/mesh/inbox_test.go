package mesh

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A tally notes what a handler or a responder is called with, and how often at once.
type tally struct {
	hold chan struct{} // closed to let the calls end

	mu            sync.Mutex
	got           []string
	running, most int
}

func newTally() *tally { return &tally{hold: make(chan struct{})} }

func (c *tally) handle(ctx context.Context, msg Message) {
	c.mu.Lock()
	c.got = append(c.got, string(msg.Data))
	c.running++
	c.most = max(c.most, c.running)
	c.mu.Unlock()
	select {
	case <-c.hold:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

func (c *tally) respond(ctx context.Context, msg Message) ([]byte, error) {
	c.handle(ctx, msg)
	return nil, nil
}

// sofar returns what it was called with, and how often at once at most.
func (c *tally) sofar() (got []string, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got), c.most
}

// TestOrderAfterSilence: what comes from a peer after it was given up, and before
// its link has ended, isn't mixed with what it sends on the next link.
func TestOrderAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, calls := newFakeNet(), newTally()
		b := net.listen(t, 0, func(c *Config) {
			c.Heartbeat, c.DownAfter = 100*time.Millisecond, 500*time.Millisecond
			c.Handlers = map[string]Handler{"s": calls.handle}
		})
		a := net.listen(t, 1, func(c *Config) { c.ForgetAfter = -1 })
		connect(t, a, b)
		send := func(data string) {
			if err := a.Send(t.Context(), b.Self(), "s", []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		events := b.Events(t.Context())
		net.split([]*Mesh{a}, []*Mesh{b})
		send("1")
		send("2")
		if down := nextDown(t, events); down.Reason != ReasonSilent {
			t.Fatalf("down: %s", down.Reason)
		}
		net.heal()
		time.Sleep(partTimeout / 2)
		connect(t, a, b)
		send("3")
		time.Sleep(2 * partTimeout)
		close(calls.hold)
		synctest.Wait()
		if got, most := calls.sofar(); most != 1 || !slices.Equal(got, []string{"3"}) {
			t.Errorf("%d at once, %q; want 3 alone", most, got)
		}
	})
}

// TestAReaderThatComesLate: what it queues after its peer went down is dropped and
// counted, unless that peer has left.
func TestAReaderThatComesLate(t *testing.T) {
	tests := []struct {
		name    string
		reason  Reason
		ended   bool // the link, before it queues
		busy    bool // a handler, when the peer goes down
		back    bool // the peer, before it queues
		dropped int64
	}{
		{name: "lost", reason: ReasonLost, dropped: 1},
		{name: "lost, while busy", reason: ReasonLost, busy: true, dropped: 1},
		{name: "lost, and back", reason: ReasonLost, busy: true, back: true, dropped: 1},
		{name: "silent", reason: ReasonSilent, dropped: 1},
		{name: "disconnected", reason: ReasonUnwanted, dropped: 1},
		{name: "left", reason: ReasonLeft},
		{name: "left, while busy", reason: ReasonLeft, busy: true},
		{name: "left, and its link ended", reason: ReasonLeft, ended: true, dropped: 1},
		{name: "left, and back all the same", reason: ReasonLeft, back: true, dropped: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := newTally()
				m := newFakeNet().listen(t, 0, func(c *Config) { c.Handlers = map[string]Handler{"s": calls.handle} })
				h := &hello{node: "a:1", instance: instanceID{1}}
				comeUp := func() *peer {
					p := &peer{m: m, hello: h, links: []*link{{}}}
					p.in = m.inboxOf(p)
					return p
				}
				deliver := func(p *peer, data string) (queue func()) {
					read := &batch{peer: p}
					p.in.deliver([]byte("s"), []byte(data), 0, read)
					return func() { p.in.flush(read) }
				}
				m.mu.Lock()
				p := comeUp()
				m.mu.Unlock()
				if tt.busy {
					deliver(p, "before")()
				}
				queue := deliver(p, "late")
				m.mu.Lock()
				if tt.ended {
					p.links = nil
				}
				m.leaveOver(p, tt.reason)
				if tt.back {
					comeUp()
				}
				m.mu.Unlock()
				queue()
				close(calls.hold)
				synctest.Wait()
				got, most := calls.sofar()
				if n := m.Stats().Dropped; n != tt.dropped || slices.Contains(got, "late") != (n == 0) || most > 1 {
					t.Errorf("%d are dropped, %q are handled, %d at once; want %d dropped", n, got, most, tt.dropped)
				}
			})
		})
	}
}

// TestWhatIsLeftOverIsBounded: of a host that comes and goes as ever new instances,
// whose messages a handler is too slow for.
func TestWhatIsLeftOverIsBounded(t *testing.T) {
	const kept, instances, each = 2, 6, 3
	tests := []struct {
		name string
		end  func(x, m *Mesh)
	}{
		{"they leave", func(x, _ *Mesh) { _ = x.Close() }},
		{"they are disconnected", func(x, m *Mesh) { _ = m.Disconnect(context.Background(), x.Self()) }},
		{"they are lost", func(x, _ *Mesh) {
			_ = x.listener.Close()
			breakLinks(x)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, calls := newFakeNet(), newTally()
				m := net.listen(t, 0, func(c *Config) {
					c.MaxPeers, c.ForgetAfter = kept, -1
					c.Handlers = map[string]Handler{"s": calls.handle}
				})
				for range instances {
					x := net.listen(t, 1, func(c *Config) { c.ForgetAfter = -1 })
					connect(t, x, m)
					for range each {
						if err := x.Send(t.Context(), m.Self(), "s", make([]byte, 2*maxWhole)); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
					tt.end(x, m)
					_ = x.Close()
					time.Sleep(2 * partTimeout)
				}
				m.mu.Lock()
				left := len(m.leftovers)
				m.mu.Unlock()
				if n := m.Stats().Dropped; left != kept || n != (instances-kept)*(each-1) {
					t.Errorf("%d inboxes are kept and %d messages dropped, want %d and %d", left, n, kept, (instances-kept)*(each-1))
				}
				close(calls.hold)
				synctest.Wait()
				if got, _ := calls.sofar(); len(got) != instances+kept*(each-1) || m.large.used.Load() != 0 {
					t.Errorf("%d messages are handled, and %d bytes of ReceiveLarge are held", len(got), m.large.used.Load())
				}
			})
		})
	}
}

// TestWhoComesAsAnother that is gone neither takes over nor replaces what that one
// has left.
func TestWhoComesAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := newTally()
		m := newFakeNet().listen(t, 0, func(c *Config) { c.Handlers = map[string]Handler{"s": calls.handle} })
		for _, h := range []*hello{
			{node: "a:1", instance: instanceID{1}},
			{node: "liar:1", instance: instanceID{1}},
			{node: "a:1", instance: instanceID{1}},
		} {
			m.mu.Lock()
			p := &peer{m: m, hello: h}
			p.in = m.inboxOf(p)
			m.mu.Unlock()
			for _, n := range []string{"1", "2"} {
				read := batch{peer: p}
				p.in.deliver([]byte("s"), []byte(string(h.node)+" "+n), 0, &read)
				p.in.flush(&read)
				synctest.Wait() // the handler has the first, the second waits
			}
			m.mu.Lock()
			m.leaveOver(p, ReasonLost)
			m.mu.Unlock()
		}
		close(calls.hold)
		synctest.Wait()
		got, _ := calls.sofar()
		slices.Sort(got)
		if want := []string{"a:1 1", "a:1 1", "a:1 2", "a:1 2", "liar:1 1"}; !slices.Equal(got, want) || m.Stats().Dropped != 1 {
			t.Errorf("%q are handled and %d are dropped, want %q and 1", got, m.Stats().Dropped, want)
		}
	})
}

// TestUnhandledOnesAreCounted: those, too, that waited when the handler was removed;
// not those of a mesh that is closed.
func TestUnhandledOnesAreCounted(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, m *Mesh)
		want int64
	}{
		{"the handler is removed", func(t *testing.T, m *Mesh) {
			t.Helper()
			if err := m.Handle("s", nil); err != nil {
				t.Error(err)
			}
		}, 5},
		{"the mesh is closed", func(t *testing.T, m *Mesh) {
			t.Helper()
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, calls := newFakeNet(), newTally()
				m := net.listen(t, 0, func(c *Config) { c.Handlers = map[string]Handler{"s": calls.handle} })
				x := net.listen(t, 1, nil)
				connect(t, x, m)
				for range 1 + 5 {
					if err := x.Send(t.Context(), m.Self(), "s", nil); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				tt.end(t, m)
				close(calls.hold)
				synctest.Wait()
				if got, _ := calls.sofar(); len(got) != 1 || m.Stats().Unhandled != tt.want {
					t.Errorf("%d are handled and %d counted as unhandled, want 1 and %d", len(got), m.Stats().Unhandled, tt.want)
				}
			})
		})
	}
}

// TestFewMessagesTakeLittleRoom: each subject of each peer may have some that wait,
// whose handler is slow.
func TestFewMessagesTakeLittleRoom(t *testing.T) {
	release, called := make(chan struct{}), make(chan struct{}, 1000)
	defer close(release)
	m := listen(t, func(c *Config) {
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) { called <- struct{}{}; <-release }}
	})
	in := inbox{m: m, from: "a:1"}
	var read batch
	for _, step := range []struct{ messages, most int }{{1, 0}, {1, len(smallItems{})}, {200, len(largeItems{})}} {
		for range step.messages {
			in.deliver([]byte("s"), nil, 0, &read)
		}
		in.flush(&read)
		if step.most == 0 {
			<-called // and takes no more
			continue
		}
		in.mu.Lock()
		if room := cap(in.queues["s"].items); room > step.most {
			t.Errorf("there is room for %d, want at most %d", room, step.most)
		}
		in.mu.Unlock()
	}
}
