package mesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// insecurely leaves out what costs CPU and doesn't matter to the test.
func insecurely(c *Config) { c.Secrets, c.Insecure = nil, true }

// listenAll starts n meshes, each on a host of its own.
func (f *fakeNet) listenAll(t *testing.T, n int, change func(*Config)) []*Mesh {
	t.Helper()
	meshes := make([]*Mesh, n)
	for i := range meshes {
		meshes[i] = f.listen(t, i, change)
	}
	return meshes
}

// wantFull checks that every two are linked, once.
func wantFull(t *testing.T, when string, meshes []*Mesh) {
	t.Helper()
	for _, m := range meshes {
		if p, l := peerCount(m), linkCount(m); p != len(meshes)-1 || l != p {
			t.Errorf("%s: %s has %d links with %d peers, want %d", when, m.Self(), l, p, len(meshes)-1)
			return
		}
	}
}

func handshakes(meshes []*Mesh) (n int64) {
	for _, m := range meshes {
		n += m.Stats().Handshakes
	}
	return n
}

// TestOneSeedIsEnough: thirty nodes know one other, and form a full mesh. The
// seed is stopped for good, the halves are cut apart for a minute, and it is
// whole again within 35 seconds.
func TestOneSeedIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 30
		net := newFakeNet()
		meshes := net.listenAll(t, n, nil)
		seed, rest := meshes[0], meshes[1:]
		for _, m := range rest {
			go func() {
				if err := m.Connect(t.Context(), seed.Self()); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(10 * time.Second)
		wantFull(t, "after 10 s", meshes)
		if got, pairs := handshakes(meshes), int64(n*(n-1)/2); got > pairs*11/10 {
			t.Errorf("%d handshakes for %d pairs", got, pairs)
		}
		if err := seed.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantFull(t, "without the seed", rest)

		net.split(rest[:n/2], rest[n/2:])
		time.Sleep(time.Minute)
		wantFull(t, "one half, cut off", rest[:n/2])
		wantFull(t, "the other", rest[n/2:])
		net.heal()
		time.Sleep(35 * time.Second)
		wantFull(t, "35 s after the cut", rest)
	})
}

// TestANewcomerIsMetInTurn: a hundred nodes learn of a new one, and make one
// handshake each with it, spread over time, within a second.
func TestANewcomerIsMetInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 100
		if raceEnabled {
			n = 70 // the race detector holds 8128 goroutines
		}
		net := newFakeNet()
		calmly := func(c *Config) { insecurely(c); c.Heartbeat = time.Hour }
		meshes := net.listenAll(t, n, calmly)
		for i, m := range meshes {
			var links sync.WaitGroup
			for _, other := range meshes[:i] {
				links.Go(func() {
					if err := m.Connect(t.Context(), other.Self()); err != nil {
						t.Error(err)
					}
				})
			}
			links.Wait()
		}
		time.Sleep(10 * time.Second)
		wantFull(t, "before", meshes)
		before, began := handshakes(meshes), time.Now()
		newcomer := net.listen(t, n, insecurely)
		if err := newcomer.Connect(t.Context(), meshes[rand.IntN(n)].Self()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Second - time.Since(began))
		synctest.Wait()
		meshes = append(meshes, newcomer)
		wantFull(t, "after a second", meshes)
		if made := handshakes(meshes) - before; made != int64(n) {
			t.Errorf("%d handshakes with %d nodes", made, n)
		}
		byTime := map[time.Duration]int{}
		for _, d := range net.dialled(began) {
			byTime[d.at.Sub(began).Truncate(100*time.Millisecond)]++
		}
		for at, dials := range byTime {
			if dials > n/2 {
				t.Errorf("%d of %d dials in the same 100 ms, %s after the start", dials, n, at)
			}
		}
	})
}

// TestALiarIsBounded: a member names 10,000 addresses. What is dialled is what
// the bounds allow, nothing is dialled that isn't allowed, and it ends when the
// liar is gone.
func TestALiarIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		forbidden := netip.MustParsePrefix("10.9.128.0/17")
		m := net.listen(t, 0, func(c *Config) {
			c.AllowAddr = func(a netip.AddrPort) bool { return !forbidden.Contains(a.Addr()) }
		})
		liar := net.listen(t, 1, nil)
		connect(t, liar, m)
		time.Sleep(2 * newsPauseMax) // they agree, and what is said from now on counts
		began := time.Now()
		lie(liar, 10_000)
		const during = 20 * time.Second
		time.Sleep(during)
		most := learnedMost + learnedPerSec*int(during.Seconds())
		dials := net.dialled(began)
		if len(dials) > most || len(dials) < most/4 {
			t.Errorf("%d dials in %s, want at most %d, and a part of that", len(dials), during, most)
		}
		for _, d := range dials {
			if forbidden.Contains(d.to.Addr()) {
				t.Fatalf("dialled %s, which isn't allowed", d.to)
			}
		}
		if n := len(m.rumours.all); n > m.cfg.MaxPeers {
			t.Errorf("%d rumours are kept, more than %d", n, m.cfg.MaxPeers)
		}
		honest := net.listen(t, 2, nil)
		connect(t, net.listen(t, 3, nil), honest)
		connect(t, honest, m)
		time.Sleep(3 * time.Second)
		if n := peerCount(m); n != 3 {
			t.Errorf("%d peers, want the liar and two who are named honestly", n)
		}
		if err := liar.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * newsPauseMax)
		ended := time.Now()
		time.Sleep(time.Minute)
		if dials := net.dialled(ended); len(dials) > 0 {
			t.Errorf("%d dials after the liar has gone", len(dials))
		}
	})
}

// TestALiarThatComesAndGoes: to link anew buys no further dials.
func TestALiarThatComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		m := net.listen(t, 0, nil)
		const during = 20 * time.Second
		began, times := time.Now(), 0
		for ; time.Since(began) < during; times++ {
			liar := net.listen(t, 1, nil) // a new instance each time
			connect(t, liar, m)
			lie(liar, 1000)
			time.Sleep(300 * time.Millisecond)
			if err := liar.Close(); err != nil {
				t.Fatal(err)
			}
		}
		most := learnedMost + learnedPerSec*int(time.Since(began).Seconds()+1) + times // its own dials
		if dials := len(net.dialled(began)); dials > most || dials < most/2 {
			t.Errorf("%d dials at the word of one who came %d times, want at most %d, and a part of that", dials, times, most)
		}
	})
}

// TestAVictimIsDialledFiveTimes: however often a member names an address.
func TestAVictimIsDialledFiveTimes(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"withdrawn and claimed", "of many instances"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				m, liar := net.listen(t, 0, nil), net.listen(t, 1, nil)
				connect(t, liar, m)
				began := time.Now()
				for i := range 600 {
					c := claim{linked: true, id: instanceID{9}, addrs: []string{"10.9.0.1:80"}}
					if how == "of many instances" {
						c.id[1], c.id[2] = byte(i), byte(i>>8)
					}
					tell(liar, []claim{{id: c.id}, c})
					time.Sleep(time.Second)
				}
				if dials := len(net.dialled(began)) - 1; dials != learnedFailures { // but the liar's own
					t.Errorf("%d dials, want %d", dials, learnedFailures)
				}
			})
		})
	}
}

// lie has a mesh claim links with nodes that don't exist.
func lie(m *Mesh, n int) {
	var claims []claim
	for i := range n {
		c := claim{linked: true, addrs: []string{fmt.Sprintf("10.9.%d.%d:4370", i/200%256, i%200)}}
		c.id[0], c.id[1], c.id[2] = 1, byte(i>>8), byte(i)
		claims = append(claims, c)
	}
	tell(m, claims)
}

// tell has a mesh tell its peers something.
func tell(m *Mesh, claims []claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		for _, frame := range encodeClaims(claims) {
			p.active.out.order(framePeers, frame)
		}
	}
}

// TestWithoutPeerExchange: only those link of whom one calls Connect.
func TestWithoutPeerExchange(t *testing.T) {
	for _, who := range []int{0, 1, 2} {
		t.Run(fmt.Sprint("node ", who), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				var meshes []*Mesh
				for i := range 3 {
					meshes = append(meshes, net.listen(t, i, func(c *Config) { c.NoPeerExchange = i == who }))
				}
				connect(t, meshes[1], meshes[0])
				connect(t, meshes[2], meshes[0])
				time.Sleep(time.Minute)
				want := 2 // the third side is linked unless the seed or both are silent
				if who == 0 {
					want = 1
				}
				for _, m := range meshes[1:] {
					if n := peerCount(m); n != want {
						t.Errorf("%s has %d peers, want %d", m.Self(), n, want)
					}
				}
			})
		})
	}
}

// TestLostPeersAreDialled: by the mesh, unless a caller of Connect does, and not
// for longer than it remembers them; and not those who left.
func TestLostPeersAreDialled(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		lose   func(net *fakeNet, a, b *Mesh)
		away   time.Duration
		caller bool
		dials  bool
	}{
		{name: "lost", lose: cutOff, away: time.Hour, dials: true},
		{name: "for a day", lose: cutOff, away: 25 * time.Hour},
		{name: "as told", lose: cutOff, change: func(c *Config) { c.ForgetAfter = time.Minute }, away: time.Hour},
		{name: "never", lose: cutOff, change: func(c *Config) { c.ForgetAfter = -1 }, away: time.Minute},
		{name: "left", lose: func(_ *fakeNet, _, b *Mesh) { _ = b.Close() }, away: time.Minute},
		{name: "unwanted", lose: func(_ *fakeNet, a, b *Mesh) { _ = b.Disconnect(context.Background(), a.Self()) }, away: time.Minute},
		{name: "a caller dials", lose: cutOff, caller: true, away: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				a := net.listen(t, 0, tt.change)
				b := net.listen(t, 1, func(c *Config) { c.ForgetAfter = -1 })
				connect(t, a, b)
				tt.lose(net, a, b)
				calls := 0
				wait := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(lostPauseMax - time.Second) {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						if calls++; tt.caller {
							_ = a.Connect(ctx, b.Self())
						}
						<-ctx.Done()
						cancel()
					}
				}
				wait(tt.away)
				since := time.Now()
				calls = 0
				wait(4 * lostPauseMax)
				switch dials := len(net.dialled(since)); {
				case tt.caller && dials != calls:
					t.Errorf("%d dials for %d calls", dials, calls)
				case !tt.caller && (dials > 0) != tt.dials:
					t.Errorf("%d dials, want some: %v", dials, tt.dials)
				}
				net.heal()
				time.Sleep(ownerTime + 2*lostPauseMax)
				if linked := peerCount(a) == 1; linked != (tt.dials || tt.caller) {
					t.Errorf("linked again: %v", linked)
				}
			})
		})
	}
}

func cutOff(net *fakeNet, a, b *Mesh) { net.split([]*Mesh{a}, []*Mesh{b}) }

// TestUnwanted: a node that was disconnected doesn't come back by itself, by its
// peers' word or by its own dials, until somebody here wants it or another
// instance has its address.
func TestUnwanted(t *testing.T) {
	tests := []struct {
		name string
		then func(t *testing.T, net *fakeNet, a, b *Mesh)
		back bool
	}{
		{"nothing more", func(*testing.T, *fakeNet, *Mesh, *Mesh) {}, false},
		{"it is wanted here", func(t *testing.T, _ *fakeNet, a, b *Mesh) {
			t.Helper()
			if err := a.Connect(t.Context(), b.Self()); err != nil {
				t.Error(err)
			}
		}, true},
		{"it is restarted", func(t *testing.T, net *fakeNet, a, b *Mesh) {
			t.Helper()
			_ = b.Close()
			again := net.listen(t, 1, nil)
			connect(t, again, a)
		}, true},
		{"after an hour", func(t *testing.T, _ *fakeNet, a, b *Mesh) {
			t.Helper()
			time.Sleep(tombstoneTime)
			if err := b.Connect(t.Context(), a.Self()); err != nil {
				t.Error(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				a, b, c := net.listen(t, 0, nil), net.listen(t, 1, nil), net.listen(t, 2, nil)
				connect(t, a, b)
				connect(t, c, a)
				connect(t, c, b)
				events := a.Events(t.Context())
				time.Sleep(time.Minute) // c has said that it is linked with both
				began := time.Now()
				if err := a.Disconnect(t.Context(), b.Self()); err != nil {
					t.Fatal(err)
				}
				for range 10 {
					time.Sleep(time.Minute)
					if err := b.Connect(t.Context(), a.Self()); !errors.Is(err, transport.ErrUnwanted) {
						t.Fatalf("it dials: %v, want ErrUnwanted", err)
					}
				}
				for <-events; len(events) > 0; {
					if e, ok := (<-events).(PeerUp); ok {
						t.Errorf("it flaps: %+v", e)
					}
				}
				for _, d := range net.dialled(began) {
					if d.to == b.listen {
						t.Errorf("it is dialled, %s after Disconnect", d.at.Sub(began))
					}
				}
				tt.then(t, net, a, b)
				synctest.Wait()
				back := slices.ContainsFunc(a.Peers(), func(p Peer) bool { return p.Node == b.Self() })
				if back != tt.back {
					t.Errorf("linked: %v, want %v", back, tt.back)
				}
			})
		})
	}
}

// TestTombstonesAreBounded: the oldest goes.
func TestTombstonesAreBounded(t *testing.T) {
	graves, now := tombstones{}, time.Now()
	id := func(i int) instanceID { return instanceID{byte(i >> 8), byte(i), 1} }
	for i := range 2 * maxTombstones {
		graves.add(id(i), []string{fmt.Sprint("10.0.0.1:", i+1)}, now.Add(time.Duration(i)))
	}
	if len(graves) != maxTombstones || graves.has(id(0), now) || !graves.has(id(2*maxTombstones-1), now) {
		t.Errorf("%d are left, want the newest %d", len(graves), maxTombstones)
	}
}

// TestATombstoneEndsWithItsAddress: another instance has it by now, as a pod has
// that gets the address of one that is gone.
func TestATombstoneEndsWithItsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		a, b := net.listen(t, 0, nil), net.listen(t, 1, nil)
		connect(t, a, b)
		if err := a.Disconnect(t.Context(), b.Self()); err != nil {
			t.Fatal(err)
		}
		buried := func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.tombstones.has(b.self.instance, time.Now())
		}
		if !buried() {
			t.Error("there is no tombstone")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if connect(t, net.listen(t, 1, nil), a); buried() {
			t.Error("the tombstone is still there")
		}
	})
}

// TestOnlyWhoIsUpIsPassedOn: one that has proved itself and then never begins
// isn't linked yet, so nobody is told of it.
func TestOnlyWhoIsUpIsPassedOn(t *testing.T) {
	m, told := listen(t, nil), listen(t, nil)
	up := listen(t, func(c *Config) { c.NoPeerExchange = true }) // waits to be dialled
	half := newIntruder(t)
	half.instance = instanceID{1} // the smaller one, which is to begin
	if _, err := half.link(m, 1); err != nil {
		t.Fatal(err)
	}
	until(t, m, "it is admitted", func() bool { return m.knownAs(half.instance) != nil })
	connect(t, up, m)
	connect(t, told, m)
	until(t, told, "it has dialled who is up", func() bool { return told.linked(up.self.instance) })
	told.mu.Lock()
	defer told.mu.Unlock()
	for _, u := range told.rumours.all {
		if u.id == half.instance {
			t.Errorf("it is told of %s, which isn't up", u.addrs)
		}
	}
}
