package mesh

import (
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

// TestWhoFindsAllIsHardlyTold: of nodes that all dial each other at once, only the
// first that each meets names others to it, where the others might too. So it is
// with a newcomer, whom each of the rest names to few.
func TestWhoFindsAllIsHardlyTold(t *testing.T) {
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
		time.Sleep(time.Minute)
		wantFull(t, "formed", meshes)
		wantAgreed(t, "formed", meshes)
		for _, m := range meshes {
			if got := claimsHeard(m); got > n {
				t.Errorf("%s was told %d times of somebody, want at most what one knows", m.Self(), got)
			}
		}
		newcomer := net.listen(t, n, insecurely)
		connect(t, newcomer, meshes[0])
		time.Sleep(time.Minute)
		meshes = append(meshes, newcomer)
		wantFull(t, "with the newcomer", meshes)
		wantAgreed(t, "with the newcomer", meshes)
		if got := claimsHeard(newcomer); got < n-1 || got > 2*n {
			t.Errorf("the newcomer was told %d times of somebody, want what one knows, who are %d", got, n-1)
		}
		for _, m := range meshes[:n] {
			if got := claimsHeard(m); got > 2*n {
				t.Errorf("%s was told %d times of somebody, want at most of one by each besides", m.Self(), got)
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

func TestLedger(t *testing.T) {
	const second = time.Second
	own, its, later := digest{1}, digest{2}, digest{3}
	type round struct {
		at          time.Duration
		its         digest
		ups         uint64
		tell, again bool
	}
	tests := []struct {
		name   string
		ledger ledger
		rounds []round
	}{
		{"nothing has come", ledger{}, []round{{20 * second, digest{}, 3, false, false}}},
		{"the same", ledger{tells: true}, []round{{0, own, 3, false, false}}},
		{"one who stays behind is told", ledger{tells: true}, []round{{0, its, 3, false, true}, {second, its, 3, false, true}, {2 * second, its, 3, true, false}}},
		{"one who comes on by itself isn't", ledger{tells: true}, []round{{0, its, 3, false, true}, {second, later, 3, false, true}, {2 * second, its, 3, false, true}, {3 * second, own, 3, false, false}}},
		{"unless it takes for ever", ledger{tells: true}, []round{{10 * second, its, 3, false, true}, {11 * second, later, 3, true, false}}},
		{"who is new is told at once to one who knew all", ledger{tells: true}, []round{{0, own, 3, false, false}, {0, its, 4, true, false}}},
		{"one who has lost somebody isn't told so soon", ledger{tells: true}, []round{{0, own, 3, false, false}, {20 * second, its, 3, false, false}}},
		{"what was told isn't told again", ledger{tells: true, upTo: 3}, []round{{20 * second, its, 3, false, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := tt.ledger
			for i, r := range tt.rounds {
				if l.digest != r.its {
					l.digest, l.moved = r.its, r.at
				}
				if tell, again := l.lacks(own, r.ups, r.at); tell != r.tell || again != r.again {
					t.Errorf("round %d: tell %v, again %v; want %v, %v", i, tell, again, r.tell, r.again)
				}
			}
		})
	}
}
