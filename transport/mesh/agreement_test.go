package mesh

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// formed starts n meshes that know the first, and waits until they agree.
func (f *fakeNet) formed(t *testing.T, n int, change func(*Config)) []*Mesh {
	t.Helper()
	meshes := f.listenAll(t, n, change)
	for _, m := range meshes[1:] {
		connect(t, m, meshes[0])
	}
	time.Sleep(2*newsPauseMax + defaultHeartbeat + time.Second)
	wantAgreed(t, "once they have formed", meshes)
	return meshes
}

func wantAgreed(t *testing.T, when string, meshes []*Mesh) {
	t.Helper()
	synctest.Wait()
	for _, m := range meshes {
		if a := m.Agreement(); !reflect.DeepEqual(a, transport.Agreement{Agreed: true}) {
			t.Errorf("%s: %s has %+v", when, m.Self(), a)
		}
	}
}

// selves are the meshes' nodes, but for some, in order.
func selves(meshes []*Mesh, but ...int) (nodes []transport.Node) {
	for i, m := range meshes {
		if !slices.Contains(but, i) {
			nodes = append(nodes, m.Self())
		}
	}
	slices.Sort(nodes)
	return nodes
}

func pairOf(a, b *Mesh) transport.Pair {
	return transport.Pair{min(a.Self(), b.Self()), max(a.Self(), b.Self())}
}

// agreements are the events about them that have come.
func agreements(events <-chan Event) (all []Event) {
	synctest.Wait()
	for len(events) > 0 {
		switch e := (<-events).(type) {
		case Diverged, Converged:
			all = append(all, e)
		default:
		}
	}
	return all
}

// TestNodesAgree: five nodes agree a heartbeat after they have formed, however
// they know each other, and stay so; one that joins late makes them wait again.
func TestNodesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.formed(t, 5, nil)
		events := meshes[4].Events(t.Context())
		time.Sleep(time.Hour)
		wantAgreed(t, "an hour later", meshes)
		late := net.listen(t, 5, nil)
		connect(t, late, meshes[0])
		for _, m := range []*Mesh{late, meshes[0]} {
			if m.Agreement().Agreed {
				t.Errorf("%s has a new peer and agrees at once", m.Self())
			}
		}
		meshes = append(meshes, late)
		time.Sleep(defaultHeartbeat - time.Second)
		for _, m := range meshes {
			if m.Agreement().Agreed {
				t.Errorf("%s agrees in less than a heartbeat", m.Self())
			}
		}
		time.Sleep(2*newsPauseMax + 2*time.Second)
		wantAgreed(t, "with the newcomer", meshes)
		if err := late.Close(); err != nil {
			t.Fatal(err)
		}
		meshes = meshes[:5]
		time.Sleep(2*newsPauseMax + defaultHeartbeat + time.Second)
		wantAgreed(t, "without it", meshes)
		if got := agreements(events); len(got) > 0 {
			t.Errorf("events of what isn't worth any: %+v", got)
		}
	})
}

// TestALoneNodeAgrees: with itself, after a heartbeat.
func TestALoneNodeAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeNet().listen(t, 0, nil)
		if m.Agreement().Agreed {
			t.Error("at once")
		}
		time.Sleep(defaultHeartbeat + checkAtLeast)
		wantAgreed(t, "after a heartbeat", []*Mesh{m})
	})
}

// TestAPairApartIsNamed: two of five nodes can't reach each other for minutes.
// Every node names the two, once, and logs it once; when they are linked again,
// every node tells that it is over.
func TestAPairApartIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, logs := newFakeNet(), newLogBook(nil)
		meshes := net.formed(t, 5, func(c *Config) { c.Logger = slog.New(logs) })
		events := make([]<-chan Event, len(meshes))
		for i, m := range meshes {
			events[i] = m.Events(t.Context())
		}
		net.split(meshes[:1], meshes[1:2])
		time.Sleep(defaultHeartbeat + defaultDivergedAfter - time.Second) // the link was silent for a while before
		for i := range meshes {
			if got := agreements(events[i]); len(got) > 0 {
				t.Errorf("before the grace is over: node %d has %+v", i, got)
			}
		}
		time.Sleep(5 * time.Minute)
		want := make([]Diverged, len(meshes))
		for i, m := range meshes {
			want[i] = Diverged{Apart: []transport.Pair{pairOf(meshes[0], meshes[1])}, Differ: selves(meshes[:2])}
			if i < 2 {
				want[i].Differ = selves(meshes, 0, 1)
			}
			if got := agreements(events[i]); !reflect.DeepEqual(got, []Event{want[i]}) {
				t.Errorf("node %d has %+v, want %+v", i, got, want[i])
			}
			a := m.Agreement()
			if !reflect.DeepEqual(a, transport.Agreement{Diverged: true, Apart: want[i].Apart, Differ: want[i].Differ}) {
				t.Errorf("node %d knows %+v", i, a)
			}
			if s, ok := (<-m.Events(t.Context())).(Snapshot); !ok || s.Diverged == nil || !reflect.DeepEqual(*s.Diverged, want[i]) {
				t.Errorf("node %d has the snapshot %+v", i, s)
			}
		}
		pair := fmt.Sprintf("apart=%q", fmt.Sprint([]transport.Pair{pairOf(meshes[0], meshes[1])}))
		if n := logs.lines("don't agree", pair); n != len(meshes) {
			t.Errorf("%d lines, want one of each node", n)
		}
		net.heal()
		time.Sleep(lostPauseMax + 2*newsPauseMax + defaultHeartbeat + time.Second)
		wantAgreed(t, "healed", meshes)
		for i, m := range meshes {
			if got := agreements(events[i]); !reflect.DeepEqual(got, []Event{Converged{}}) {
				t.Errorf("healed: node %d has %+v", i, got)
			}
			if s, ok := (<-m.Events(t.Context())).(Snapshot); !ok || s.Diverged != nil {
				t.Errorf("healed: node %d has the snapshot %+v", i, s)
			}
		}
		if n := logs.lines("agree again"); n != len(meshes) {
			t.Errorf("%d lines that it is over", n)
		}
	})
}

// TestDivergenceChanges: a second pair comes apart, and is told with the first;
// and a node that can see only one other is named with each that it lacks.
func TestDivergenceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.formed(t, 4, nil)
		events := meshes[3].Events(t.Context())
		net.split(meshes[:1], meshes[1:2])
		time.Sleep(2 * time.Minute)
		net.split(meshes[:1], meshes[2:3])
		time.Sleep(2 * time.Minute)
		net.heal()
		first, second := pairOf(meshes[0], meshes[1]), pairOf(meshes[0], meshes[2])
		var apart [][]transport.Pair
		for _, e := range agreements(events) {
			if d, ok := e.(Diverged); ok && (len(apart) == 0 || !slices.Equal(apart[len(apart)-1], d.Apart)) {
				apart = append(apart, d.Apart)
			}
		}
		if want := [][]transport.Pair{{first}, {first, second}}; !reflect.DeepEqual(apart, want) {
			t.Errorf("it is told of %v, want %v", apart, want)
		}
	})
}

// TestAMeshThatIsNotFull: without peer exchange, nodes are told apart and not
// pairs; and where it is meant, nobody is told.
func TestAMeshThatIsNotFull(t *testing.T) {
	for _, after := range []time.Duration{0, 2 * defaultHeartbeat, -1} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				meshes := net.listenAll(t, 3, func(c *Config) { c.NoPeerExchange, c.DivergedAfter = true, after })
				connect(t, meshes[0], meshes[1])
				connect(t, meshes[2], meshes[1])
				events := meshes[1].Events(t.Context())
				time.Sleep(defaultHeartbeat)
				if a := meshes[1].Agreement(); !slices.Equal(a.Differ, selves(meshes, 1)) {
					t.Errorf("it knows %+v", a)
				}
				time.Sleep(time.Minute)
				want := []Event{Diverged{Differ: selves(meshes, 1)}}
				if after < 0 {
					want = nil
				}
				if got := agreements(events); !reflect.DeepEqual(got, want) {
					t.Errorf("it tells %+v, want %+v", got, want)
				}
			})
		})
	}
}

// TestOldPeersCountNeitherWay: peers that don't know of digests get none, and
// don't keep the others from agreeing.
func TestOldPeersCountNeitherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.listenAll(t, 3, nil)
		old := meshes[0]
		old.self.features &^= featureDigest | featureMeta
		connect(t, meshes[1], old)
		connect(t, meshes[2], old)
		time.Sleep(time.Minute)
		wantFull(t, "formed", meshes)
		wantAgreed(t, "with an old peer", meshes[1:])
		if err := meshes[1].SetMeta(map[string]string{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		old.mu.Lock()
		defer old.mu.Unlock()
		for _, p := range old.peers {
			if p.tells || p.meta["k"] != "" {
				t.Errorf("the old peer was sent what it doesn't know by %s", p.hello.node)
			}
		}
	})
}

// TestALiarsPairsAreBounded: a member names thousands of nodes, and says another
// digest every second. The pairs that are told of are few, and so are the events.
func TestALiarsPairsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.formed(t, 3, func(c *Config) { c.MaxPeers = 500 })
		liar, m := meshes[0], meshes[1]
		events := m.Events(t.Context())
		lie(liar, 2000)
		const during = 2 * time.Minute
		for i := range int(during / time.Second) {
			liar.mu.Lock()
			for _, p := range liar.peers {
				p.active.out.order(frameDigest, []byte(fmt.Sprintf("%016d", i)))
			}
			liar.mu.Unlock()
			time.Sleep(time.Second)
		}
		told := agreements(events)
		if len(told) == 0 || len(told) > int(during/defaultHeartbeat) {
			t.Errorf("%d events", len(told))
		}
		for _, e := range told {
			if d, ok := e.(Diverged); !ok || len(d.Apart) == 0 || len(d.Apart) > maxApart {
				t.Errorf("%T with %d pairs", e, len(d.Apart))
			}
		}
	})
}

// TestAgreementSurvivesCrossings: a pair's links are replaced again and again,
// and both sides know each other's latest digest.
func TestAgreementSurvivesCrossings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.formed(t, 3, nil)
		for i := range 50 {
			a, b := meshes[i%3], meshes[(i+1)%3]
			if err := a.dial(t.Context(), target{addr: b.Self().Addr()}, nil); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 { // and lost
				b.mu.Lock()
				b.end(b.peers[a.self.instance].active)
				b.mu.Unlock()
			}
		}
		time.Sleep(time.Minute)
		wantFull(t, "in the end", meshes)
		wantAgreed(t, "in the end", meshes)
	})
}

// TestADigestThatWasMissed: it changed while one link of a pair was gone and the
// next on its way.
func TestADigestThatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a, b, c := net.listen(t, 0, nil), net.listen(t, 1, nil), net.listen(t, 2, nil)
		connect(t, a, b)
		time.Sleep(newsPauseMax)
		a.mu.Lock()
		a.peers[b.self.instance].active = nil
		a.mu.Unlock()
		connect(t, c, a)
		time.Sleep(2 * newsPauseMax)
		if err := a.dial(t.Context(), target{addr: b.Self().Addr()}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		if got := b.peers[a.self.instance].digest; got != a.accord.own {
			t.Errorf("it has %x, want %x", got, a.accord.own)
		}
	})
}

func TestAccord(t *testing.T) {
	const second = time.Second
	type look struct {
		at      time.Duration
		differs bool
		moved   bool // just before
		agreed  bool // want
		told    bool // want
	}
	tests := []struct {
		name  string
		looks []look
	}{
		{"alone", []look{{4 * second, false, false, false, false}, {5 * second, false, false, true, false}, {6 * second, false, false, false, false}}},
		{"a change begins the heartbeat anew", []look{{4 * second, false, true, false, false}, {8 * second, false, false, false, false}, {9 * second, false, false, true, false}}},
		{"to differ does, too", []look{{4 * second, true, false, false, false}, {8 * second, false, false, false, false}, {9 * second, false, false, true, false}}},
		{"told after the grace", []look{{1 * second, true, false, false, false}, {6 * second, true, false, false, false}, {26 * second, true, false, false, false}, {31 * second, true, false, false, true}, {36 * second, true, false, false, false}}},
		{"a moment of agreement begins the grace anew", []look{{1 * second, true, false, false, false}, {24 * second, true, false, false, false}, {25 * second, false, false, false, false}, {26 * second, true, false, false, false}, {55 * second, true, false, false, false}, {60 * second, true, false, false, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := accord{heartbeat: 5 * second, grace: 30 * second}
			for _, l := range tt.looks {
				if l.moved {
					a.moves(l.at)
				}
				agreed := a.look(l.at, l.differs)
				told := a.due(l.at) && a.compare(l.at, gaps{}, []transport.Node{"a:1"}) != nil
				if agreed != l.agreed || told != l.told {
					t.Errorf("at %s: agreed %v, told %v; want %v, %v", l.at, agreed, told, l.agreed, l.told)
				}
			}
		})
	}
}

// TestDigestIsOfTheSet: in whichever order its nodes come, and not of those that
// have gone.
func TestDigestIsOfTheSet(t *testing.T) {
	var a, b digest
	for i := range 100 {
		a.toggle(instance(i))
		b.toggle(instance(99 - i))
	}
	if a != b {
		t.Error("the order matters")
	}
	if b.toggle(instance(7)); a == b {
		t.Error("a node doesn't matter")
	}
	if b.toggle(instance(7)); a != b {
		t.Error("a node that went and came back does")
	}
}
