package processes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	residents = 4
	// usually and atNight are how long everything goes on at once.
	usually = 5 * time.Second
	atNight = 10 * time.Minute
	spells  = 5 // into which that is divided

	// What may be left behind: beyond what there was before, and after the first spell.
	moreGoroutines = 8
	moreHeap       = 8 << 20
)

// TestEverythingAtOnce: residents talk in all ways with each other and with
// visitors, who join and leave, or are killed. No link between residents breaks,
// nothing comes to harm or gets stuck, what they tell of themselves arrives, and
// goroutines and heap stay flat.
func TestEverythingAtOnce(t *testing.T) {
	span := usually
	if os.Getenv("CLUSTER_NIGHTLY") != "" {
		span = atNight
	}
	all := settle(t)
	before := rest(t, all, runtime.NumGoroutine())
	var first footprint
	for spell := range spells {
		visit(t, all, span/spells)
		now := rest(t, all, before.goroutines+moreGoroutines)
		t.Logf("after spell %d: %s", spell+1, now)
		if spell == 0 {
			first = now
		}
		if now.heap > first.heap+moreHeap {
			t.Errorf("the heap grows: it was %d KiB after the first spell, and is %d", first.heap>>10, now.heap>>10)
		}
	}
	for kind, talk := range all[0].talks() {
		n := int64(0)
		for _, r := range all {
			n += r.done[kind].Load()
		}
		if t.Logf("%d %s", n, talk.name); n == 0 {
			t.Errorf("no %s", talk.name)
		}
	}
	givenUp, metas := int64(0), 0
	for _, r := range all {
		givenUp, metas = givenUp+r.givenUp.Load(), metas+r.metas
	}
	if t.Logf("%d huge messages given up, metadata changed %d times", givenUp, metas); givenUp == 0 || metas == 0 {
		t.Error("none was given up, or changed")
	}
}

// A resident is a talker of this process.
type resident struct {
	*talker
	others []transport.Node
	metas  int // how often it has changed what it tells of itself
}

const metaKey = "changes"

func (r *resident) changeMeta() error {
	r.metas++
	return r.m.SetMeta(map[string]string{metaKey: strconv.Itoa(r.metas)})
}

// seenBy reports whether another has what this one has told of itself last.
func (r *resident) seenBy(o *resident) bool {
	return r.metas == 0 || slices.ContainsFunc(o.m.Peers(), func(p mesh.Peer) bool {
		return p.Node == r.m.Self() && p.Meta[metaKey] == strconv.Itoa(r.metas)
	})
}

// settle links the residents. Until the test ends, no link between them breaks.
func settle(t *testing.T) (all []*resident) {
	t.Helper()
	var nodes []transport.Node
	for range residents {
		r := &resident{talker: listen(t)}
		all, nodes = append(all, r), append(nodes, r.m.Self())
		t.Cleanup(func() { r.close(); r.check(t) })
	}
	slices.Sort(nodes)
	for _, r := range all {
		r.others = slices.DeleteFunc(slices.Clone(nodes), func(n transport.Node) bool { return n == r.m.Self() })
		for _, n := range r.others {
			if err := r.m.Connect(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		events := r.m.Events(t.Context())
		go func() {
			for e := range events {
				if down, ok := e.(mesh.PeerDown); ok && slices.Contains(r.others, down.Peer.Node) && down.Reason != mesh.ReasonLeft && down.Reason != mesh.ReasonClosed {
					r.blame(fmt.Errorf("the link with %s broke: %s", down.Peer.Node, down.Reason))
				}
			}
		}()
	}
	return all
}

func listen(t *testing.T) *talker {
	t.Helper()
	m, err := mesh.Listen(config())
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
func visit(t *testing.T, all []*resident, span time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	for _, r := range all {
		r.talk()
	}
	var visitors sync.WaitGroup
	visitors.Go(func() {
		for ctx.Err() == nil {
			v := listen(t)
			v.talk()
			for _, r := range all {
				_ = v.m.Connect(ctx, r.m.Self()) // peer exchange does the rest
			}
			stay(ctx)
			v.close()
			v.check(t)
		}
	})
	visitors.Go(func() {
		for ctx.Err() == nil {
			c := startChild(t, childTalks)
			for _, r := range all {
				fmt.Fprintln(c.in, r.m.Self())
			}
			stay(ctx)
			c.kill()
			c.check(t)
		}
	})
	visitors.Go(func() {
		for ctx.Err() == nil {
			if err := all[rand.IntN(len(all))].changeMeta(); err != nil {
				t.Error(err)
			}
			stay(ctx)
		}
	})
	visitors.Wait()
	for _, r := range all {
		r.hush()
		r.check(t)
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

// rest waits until only the residents are linked, each has the others' metadata, and
// so many goroutines are left at most.
func rest(t *testing.T, all []*resident, most int) (now footprint) {
	t.Helper()
	late := time.After(patience)
	for {
		alone := !slices.ContainsFunc(all, func(r *resident) bool { return !r.linkedWith(r.others) })
		told := !slices.ContainsFunc(all, func(r *resident) bool {
			return slices.ContainsFunc(all, func(o *resident) bool { return o != r && !r.seenBy(o) })
		})
		now.goroutines = runtime.NumGoroutine()
		if alone && told && now.goroutines <= most {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			stacks := make([]byte, 1<<20)
			t.Fatalf("not in %s: the residents are alone: %t, and know each other's metadata: %t; there are %d goroutines, want %d:\n%s",
				patience, alone, told, now.goroutines, most, stacks[:runtime.Stack(stacks, true)])
		}
	}
	runtime.GC()
	runtime.GC() // empties the pools as well
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	now.heap = mem.HeapAlloc
	return now
}
