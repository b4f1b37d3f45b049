package processes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	residents = 4
	// usually and atNight are how long everything goes on at once; spanEnv names
	// another time, such as 3m.
	usually = 5 * time.Second
	atNight = 10 * time.Minute
	spanEnv = "PROCESSES_TEST_SPAN"
	spells  = 5 // into which that is divided

	// What may be left behind: beyond what there was before, and after the first spell.
	moreGoroutines = 8
	moreHeap       = 1 << 20
	// heapOfGuest is for each who came since: the meshes remember for a day whom they
	// have lost, and the test has to clean up after each. 1.8 KiB were measured.
	heapOfGuest = 2 << 10
)

// A soak is residents, and what happens to them.
type soak struct {
	all      []*resident
	ring     *keyring
	partings int
	guests   atomic.Int64 // who have joined, and gone
}

// TestEverythingAtOnce: residents talk in all ways with each other and with
// visitors, who join and leave, or are killed. Residents disconnect each other and
// connect again, change what they tell of themselves, and all nodes change their
// secrets. No link between residents breaks, nothing comes twice, out of order or to
// harm, or gets stuck, nothing fails or is lost between those that never part, what they tell of themselves arrives, an old secret is worth
// nothing, and goroutines and heap stay flat.
func TestEverythingAtOnce(t *testing.T) {
	span := soakSpan(t)
	s := &soak{ring: newKeyring()}
	s.all = settle(t, s.ring)
	before := s.rest(t, runtime.NumGoroutine())
	var first footprint
	var guests int64 // in the first spell
	for spell := range spells {
		old := s.ring.newest()
		s.visit(t, span/spells)
		s.checkRefused(t, old)
		now := s.rest(t, before.goroutines+moreGoroutines)
		t.Logf("after spell %d: %s", spell+1, now)
		if spell == 0 {
			first, guests = now, s.guests.Load()
		}
		came := s.guests.Load() - guests
		if now.heap > first.heap+moreHeap+uint64(came)*heapOfGuest {
			t.Errorf("the heap grows: it was %d KiB after the first spell, and is %d after %d guests", first.heap>>10, now.heap>>10, came)
		}
	}
	s.checkDone(t)
}

// soakSpan is how long the test is told to take.
func soakSpan(t *testing.T) time.Duration {
	t.Helper()
	if told := os.Getenv(spanEnv); told != "" {
		span, err := time.ParseDuration(told)
		if err != nil || span <= 0 {
			t.Fatalf("%s is %q; want a time such as 3m", spanEnv, told)
		}
		return span
	}
	if os.Getenv("CLUSTER_NIGHTLY") != "" {
		return atNight
	}
	return usually
}

// checkDone fails the test if something that it is about hasn't happened.
func (s *soak) checkDone(t *testing.T) {
	t.Helper()
	var dropped int64
	counts := map[string]int64{"partings": int64(s.partings), "changes of the secrets": int64(s.ring.changes), "guests": s.guests.Load()}
	for kind, talk := range s.all[0].talks() {
		for _, r := range s.all {
			counts[talk.name] += r.done[kind].Load()
		}
	}
	for _, r := range s.all {
		counts["huge messages given up"] += r.givenUp.Load()
		counts["changes of metadata"] += int64(r.metas)
		counts["messages that have to be heard"] += r.due()
		dropped += r.m.Stats().Dropped
	}
	// Those who hear are quick: there is no room only if a machine is very busy.
	t.Logf("%d messages dropped", dropped)
	if heard := counts["messages that have to be heard"]; dropped > heard/100 {
		t.Errorf("%d messages were dropped, and %d heard; want at most a hundredth", dropped, heard)
	}
	for what, n := range counts {
		if t.Logf("%d %s", n, what); n == 0 {
			t.Errorf("no %s", what)
		}
	}
}

func listen(t *testing.T, secrets []string) *talker {
	t.Helper()
	m, err := mesh.Listen(config(secrets...))
	if err != nil {
		t.Fatal(err)
	}
	talker, err := newTalker(m)
	if err != nil {
		t.Fatal(err)
	}
	return talker
}

// visit has residents and visitors talk for a while.
func (s *soak) visit(t *testing.T, span time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	for _, r := range s.all {
		r.talk()
	}
	var goingOn sync.WaitGroup
	again := func(what func() error) {
		goingOn.Go(func() {
			for ctx.Err() == nil {
				if err := what(); err != nil {
					t.Error(err)
					return
				}
				stay(ctx)
			}
		})
	}
	again(func() error { s.visitor(ctx, t); return nil })
	again(func() error { s.victim(ctx, t); return nil })
	again(func() error { return s.all[rand.IntN(len(s.all))].changeMeta() })
	again(func() error { return s.ring.rotate(ctx) })
	again(func() error {
		s.partings++
		one, other := s.all[0], s.all[1+rand.IntN(len(s.all)-1)]
		if s.partings%2 == 0 {
			one, other = other, one
		}
		return one.shun(ctx, other)
	})
	goingOn.Wait()
	for _, r := range s.all {
		r.hush()
		r.check(t)
	}
}

// visitor joins, and leaves after a while.
func (s *soak) visitor(ctx context.Context, t *testing.T) {
	t.Helper()
	s.guests.Add(1)
	v := enter(s.ring, func(secrets []string) *talker { return listen(t, secrets) })
	v.talk()
	for _, r := range s.all {
		_ = v.m.Connect(ctx, r.m.Self()) // peer exchange does the rest
	}
	stay(ctx)
	s.ring.leave(v)
	v.close()
	v.check(t)
}

// victim joins from a process of its own, which is killed after a while.
func (s *soak) victim(ctx context.Context, t *testing.T) {
	t.Helper()
	s.guests.Add(1)
	c := enter(s.ring, func(secrets []string) *child { return startChild(t, childTalks, secrets...) })
	for _, r := range s.all {
		fmt.Fprintln(c.in, r.m.Self())
	}
	stay(ctx)
	s.ring.leave(c)
	c.kill()
	c.check(t)
}

// checkRefused fails the test if a node gets in by a secret that was replaced.
func (s *soak) checkRefused(t *testing.T, old string) {
	t.Helper()
	m, err := mesh.Listen(config(old))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), talkTime)
	defer cancel()
	for _, r := range s.all {
		if err := m.Connect(ctx, r.m.Self()); !errors.Is(err, mesh.ErrProof) {
			t.Errorf("%s is connected with a secret that was replaced: %v", r.m.Self(), err)
		}
	}
}

// stay is how long a visitor does.
func stay(ctx context.Context) {
	select {
	case <-time.After(300*time.Millisecond + rand.N(700*time.Millisecond)): // at random is what is tested
	case <-ctx.Done():
	}
}

// A footprint is what a process has when nobody talks.
type footprint struct {
	goroutines int
	heap       uint64
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d KiB on the heap", f.goroutines, f.heap>>10)
}

// lost says which residents haven't heard what those told them with whom they never
// part, but for what they have dropped, as they say, for lack of room.
func (s *soak) lost() string {
	var all []string
	for _, to := range s.all {
		n := 0
		for _, from := range s.all {
			n += from.unheard(to.talker)
		}
		if dropped := to.m.Stats().Dropped; int64(n) > dropped {
			all = append(all, fmt.Sprintf("%s hasn't heard %d messages, and has dropped %d", to.m.Self(), n, dropped))
		}
	}
	return strings.Join(all, ", ")
}

// rest waits until only the residents are linked, each has the others' metadata,
// they have heard what they were told, and so many goroutines are left at most.
func (s *soak) rest(t *testing.T, most int) (now footprint) {
	t.Helper()
	late := time.After(patience)
	for {
		alone := !slices.ContainsFunc(s.all, func(r *resident) bool { return !r.linkedWith(r.others) })
		told := !slices.ContainsFunc(s.all, func(r *resident) bool {
			return slices.ContainsFunc(s.all, func(o *resident) bool { return o != r && !r.seenBy(o) })
		})
		now.goroutines = runtime.NumGoroutine()
		lost := s.lost()
		if alone && told && lost == "" && now.goroutines <= most {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			stacks := make([]byte, 1<<20)
			t.Fatalf("not in %s: the residents are alone: %t, and know each other's metadata: %t; %s; there are %d goroutines, want %d:\n%s",
				patience, alone, told, lost, now.goroutines, most, stacks[:runtime.Stack(stacks, true)])
		}
	}
	ids := map[uint64]bool{}
	for _, r := range s.all {
		ids[r.id] = true
	}
	for _, r := range s.all {
		r.forget(ids)
	}
	runtime.GC()
	runtime.GC() // empties the pools as well
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	now.heap = mem.HeapAlloc
	return now
}
