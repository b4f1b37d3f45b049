package mesh

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// claimsHeard is how many instances all peers of a mesh have named to it.
func claimsHeard(m *Mesh) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range m.rumours.informers {
		n += in.claims
	}
	return n
}

// TestWhoFindsAllIsToldOfNobody: of nodes that all want each other, nobody names
// others to anybody, though all begin at once. A newcomer that knows one is told of
// all; and what was told is not kept once all are linked.
func TestWhoFindsAllIsToldOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 30
		net := newFakeNet()
		meshes := net.listenAll(t, n, insecurely)
		for _, m := range meshes {
			for _, other := range meshes {
				if other != m {
					go func() {
						if err := m.Connect(t.Context(), other.Self()); err != nil {
							t.Error(err)
						}
					}()
				}
			}
		}
		told := 0
		for range 1000 { // for five seconds
			time.Sleep(5 * time.Millisecond)
			for _, m := range meshes {
				told = max(told, claimsHeard(m))
			}
		}
		wantFull(t, "formed", meshes)
		if told > 0 {
			t.Errorf("a node was told of %d", told)
		}
		newcomer := net.listen(t, n, insecurely)
		connect(t, newcomer, meshes[0])
		time.Sleep(time.Second)
		meshes = append(meshes, newcomer)
		wantFull(t, "with the newcomer", meshes)
		time.Sleep(time.Minute)
		wantAgreed(t, "with the newcomer", meshes)
		for _, m := range meshes {
			if kept := claimsHeard(m); kept > 0 {
				t.Errorf("%s keeps %d claims of what it is linked with", m.Self(), kept)
			}
		}
	})
}

// TestWhoLacksOneIsToldAgain: nodes that agreed, and so told each other of
// nobody, do it once two of them have lost each other.
func TestWhoLacksOneIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.listenAll(t, 3, nil)
		connect(t, meshes[0], meshes[1])
		connect(t, meshes[1], meshes[2])
		connect(t, meshes[2], meshes[0])
		time.Sleep(2*newsPauseMax + defaultHeartbeat + time.Second)
		wantAgreed(t, "formed", meshes)
		net.split(meshes[:1], meshes[1:2])
		defer net.heal()
		time.Sleep(2*defaultDownAfter + 2*defaultHeartbeat)
		for i, lost := range map[int]int{0: 1, 1: 0} {
			m := meshes[i]
			m.mu.Lock()
			named := m.rumours.claimed(meshes[2].self.instance, meshes[lost].self.instance)
			m.mu.Unlock()
			if !named {
				t.Errorf("node %d has lost node %d and wasn't told that node 2 is linked with it", i, lost)
			}
		}
	})
}

// TestABusySeedTellsAllTheSame: one that dials a black hole all the time, and with
// which a node links twice a second, names them to each other.
func TestABusySeedTellsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		seed, hole := net.listen(t, 0, insecurely), net.listen(t, 1, insecurely)
		net.split([]*Mesh{seed}, []*Mesh{hole})
		defer net.heal()
		ctx, cancel := context.WithCancel(t.Context())
		var dials sync.WaitGroup
		for range 2 { // one begins before the other has ended
			dials.Go(func() {
				for ctx.Err() == nil {
					_ = seed.Connect(ctx, hole.Self())
				}
			})
			time.Sleep(time.Second)
		}
		const n = 30
		var meshes []*Mesh
		for i := range n {
			m := net.listen(t, 2+i, insecurely)
			connect(t, m, seed)
			meshes = append(meshes, m)
			time.Sleep(500 * time.Millisecond)
		}
		for _, m := range meshes[:n/4] { // those of a second ago needn't know all
			if got := peerCount(m); got < n/2 {
				t.Errorf("%s is linked with %d others, want most of %d", m.Self(), got, n)
			}
		}
		cancel()
		dials.Wait()
	})
}

// TestSeedsFormSoon: nodes that know one to three others, and start within a tenth of
// a second, are a full mesh within a second.
func TestSeedsFormSoon(t *testing.T) {
	for _, seeds := range []int{1, 2, 3} {
		t.Run(fmt.Sprint("seeds ", seeds), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 40
				net := newFakeNet()
				meshes := net.listenAll(t, n, insecurely)
				for i, m := range meshes {
					go func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond / n)
						for _, seed := range meshes[:seeds] {
							if seed != m {
								go func() { _ = m.Connect(t.Context(), seed.Self()) }()
							}
						}
					}()
				}
				time.Sleep(time.Second)
				synctest.Wait()
				wantFull(t, "after a second", meshes)
			})
		})
	}
}

// TestApartIsTrueWhileNodesComeAndGo: a node joins and one leaves every three
// seconds, for minutes. Who is named as apart is.
func TestApartIsTrueWhileNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.listenAll(t, 8, insecurely)
		for _, m := range meshes {
			for _, other := range meshes {
				if other != m {
					go func() { _ = m.Connect(t.Context(), other.Self()) }()
				}
			}
		}
		time.Sleep(time.Minute)
		events := meshes[4].Events(t.Context())
		net.split(meshes[:1], meshes[1:2])
		defer net.heal()
		stay := selves(meshes)
		var last *Mesh
		for i := range 50 {
			joins := net.listen(t, 100+i, insecurely)
			connect(t, joins, meshes[2])
			if last != nil {
				if err := last.Close(); err != nil {
					t.Fatal(err)
				}
			}
			last = joins
			time.Sleep(3 * time.Second)
		}
		named := false
		for _, e := range agreements(events) {
			d, ok := e.(Diverged)
			if !ok {
				continue
			}
			for _, pair := range d.Apart {
				switch {
				case pair == pairOf(meshes[0], meshes[1]):
					named = true
				case slices.Contains(stay, pair[0]) && slices.Contains(stay, pair[1]):
					t.Errorf("named as apart, and linked all the time: %s", pair)
				}
			}
		}
		if !named {
			t.Error("the two who are apart aren't named")
		}
	})
}

// TestApartMakesNoWords: while some are apart, and so don't agree with the rest, who
// comes and goes is told in as few words as ever.
func TestApartMakesNoWords(t *testing.T) {
	words := map[int]int64{}
	for _, apart := range []int{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			net := newFakeNet()
			meshes := net.formed(t, 30, insecurely)
			net.split(meshes[:apart], meshes[apart:2*apart])
			defer net.heal()
			time.Sleep(5 * time.Minute)
			before := net.written.Load()
			for i := range 3 {
				m := net.listen(t, 100+i, insecurely)
				connect(t, m, meshes[29])
				time.Sleep(30 * time.Second)
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
			}
			words[apart] = net.written.Load() - before
		})
	}
	if words[5] > 3*words[0]/2 {
		t.Errorf("%d bytes with five pairs apart, %d with none", words[5], words[0])
	}
}

// TestWhoIsGoneIsToldOnTheNextLink: if there was none when that was news. One who is
// back is no news.
func TestWhoIsGoneIsToldOnTheNextLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.formed(t, 3, insecurely)
		a, b, c := meshes[0], meshes[1], meshes[2]
		b.mu.Lock()
		b.rumours.claim(b.rumours.informer(a.self.instance, netip.Prefix{}, time.Now()), c.self.instance, c.self.addrs, 3, time.Now())
		b.mu.Unlock()
		a.mu.Lock()
		a.peers[b.self.instance].active = nil
		a.mu.Unlock()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * newsPauseMax)
		if err := a.dial(t.Context(), target{addr: b.Self().Addr()}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * newsPauseMax)
		b.mu.Lock()
		if b.rumours.claimed(a.self.instance, c.self.instance) {
			t.Error("it still counts as linked with one who has gone")
		}
		b.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		p := a.peers[b.self.instance]
		a.announce(p, false)
		a.announce(p, true)
		if len(a.gone) > 0 || len(a.parted) != 1 {
			t.Errorf("of one who is back, %d are told; %d are known to have gone, want the other", len(a.gone), len(a.parted))
		}
	})
}
