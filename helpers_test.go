package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster/transport/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A source is a strategy that says what a test makes it say.
type source struct {
	end chan error // ends Run

	mu     sync.Mutex
	roster *Roster
	runs   int
}

func newSource() *source { return &source{end: make(chan error)} }

func (s *source) Run(ctx context.Context, r *Roster) error {
	s.mu.Lock()
	s.roster = r
	s.runs++
	s.mu.Unlock()
	select {
	case err := <-s.end:
		if errors.Is(err, errPanic) {
			panic("told to")
		}
		return err
	case <-ctx.Done():
		return nil
	}
}

var (
	errPanic  = fmt.Errorf("panics")
	errSource = fmt.Errorf("the source can't be asked")
)

// r is the roster of the Run under way.
func (s *source) r() *Roster {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roster
}

// ran is how often it was run.
func (s *source) ran() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

// A world is a network with nodes on it, of which "me:1" runs a supervisor.
type world struct {
	t   *testing.T
	net *memory.Network
	me  *memory.Transport
	sup *Supervisor

	began time.Time
}

func newWorld(t *testing.T, others ...Node) *world {
	t.Helper()
	w := &world{t: t, net: memory.New(), began: time.Now()}
	w.me = w.join("me:1")
	for _, n := range others {
		w.join(n)
	}
	return w
}

func (w *world) join(n Node) *memory.Transport {
	w.t.Helper()
	tr, err := w.net.Join(n)
	if err != nil {
		w.t.Fatal(err)
	}
	return tr
}

// start runs topologies until the test ends, at which nothing may be left.
func (w *world) start(topologies []Topology, opts ...Option) {
	w.t.Helper()
	opts = append([]Option{WithTransport(w.me), WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	sup, err := Start(w.t.Context(), topologies, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sup = sup
	w.t.Cleanup(func() {
		sup.Stop()
		if err := sup.Wait(); err != nil {
			w.t.Error(err)
		}
	})
}

// startOne runs one topology of a source.
func (w *world) startOne(opts ...Option) *source {
	w.t.Helper()
	src := newSource()
	w.start([]Topology{{Name: "test", Strategy: src}}, opts...)
	return src
}

// wantLinked checks who is linked once everything has come to rest.
func (w *world) wantLinked(when string, want ...Node) {
	w.t.Helper()
	synctest.Wait()
	got, _ := w.me.ListNodes(w.t.Context())
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: linked with %v, want %v", when, got, want)
	}
}

func nodes(n ...Node) []Node { return n }

// counted calls a transport and counts the calls of Connect.
type counted struct {
	*memory.Transport

	mu    sync.Mutex
	times map[Node][]time.Time
}

func count(t *memory.Transport) *counted {
	return &counted{Transport: t, times: map[Node][]time.Time{}}
}

func (c *counted) Connect(ctx context.Context, n Node) error {
	c.mu.Lock()
	c.times[n] = append(c.times[n], time.Now())
	c.mu.Unlock()
	return c.Transport.Connect(ctx, n)
}

func (c *counted) dials(n Node) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.times[n])
}
