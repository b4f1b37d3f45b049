package mesh

import (
	"context"
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
