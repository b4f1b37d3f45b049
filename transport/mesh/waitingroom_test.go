package mesh

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoHasProvedItselfDoesntCount: neither as one who may be turned out, nor
// for its place.
func TestWhoHasProvedItselfDoesntCount(t *testing.T) {
	const here, there, elsewhere = "10.0.0.1", "10.0.0.2", "10.0.0.3"
	tests := []struct {
		name    string
		guests  []string
		happens func(w *waitingRoom, guests []*guest)
		goes    int // who makes room for one more
	}{
		{"nobody has", []string{here, here, there}, func(*waitingRoom, []*guest) {}, 0},
		{"the oldest", []string{here, here, there}, func(w *waitingRoom, g []*guest) { w.proved(g[0]) }, 1},
		{"of the busiest place", []string{here, here, here, there, there}, func(w *waitingRoom, g []*guest) {
			w.proved(g[0])
			w.proved(g[1])
		}, 3},
		{"twice", []string{here, here, here, there, there}, func(w *waitingRoom, g []*guest) {
			w.proved(g[1])
			w.proved(g[1])
		}, 0},
		{"and left", []string{here, here, there, here, there}, func(w *waitingRoom, g []*guest) {
			w.proved(g[0])
			w.leave(g[0])
		}, 1},
		{"too late", []string{here, here, there, here, here, there}, func(w *waitingRoom, g []*guest) {
			w.turnOut(g[0])
			w.proved(g[0])
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &waitingRoom{limit: len(tt.guests)}
			var guests []*guest
			for _, addr := range tt.guests {
				guests = append(guests, guestFrom(t, w, addr))
			}
			tt.happens(w, guests)
			w.limit = len(w.guests)
			before := len(w.guests)
			guestFrom(t, w, elsewhere)
			if !guests[tt.goes].isOut() || len(w.guests) != before {
				t.Errorf("guest %d of %v is still there, or another is gone, too", tt.goes, tt.guests)
			}
			unproved := map[netip.Prefix]int{}
			for _, g := range w.guests {
				if !g.proved {
					unproved[g.place]++
				}
			}
			for where, p := range w.places {
				if p.guests != unproved[where] {
					t.Errorf("counted are %d from %s, there are %d", p.guests, where, unproved[where])
				}
			}
		})
	}
}

func (g *guest) isOut() bool {
	select {
	case <-g.out:
		return true
	default:
		return false
	}
}

// TestATurnIsGivenBack: by each that has proved itself. One that waits for its
// turn and is turned out waits no more.
func TestATurnIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const proved = 10
		w := &waitingRoom{limit: 10_000}
		turns := func(n int) (all []*guest) {
			for range n {
				g := guestFrom(t, w, "10.0.0.1")
				if wait := w.tryTurn(g); wait > 0 {
					t.Fatalf("after %d, one has to wait %s", len(all), wait)
				}
				all = append(all, g)
			}
			return all
		}
		for _, g := range turns(guestsAtOnce)[:proved] {
			w.proved(g)
			w.proved(g)
		}
		turns(proved)
		late := guestFrom(t, w, "10.0.0.1")
		if w.tryTurn(late) == 0 {
			t.Error("one more begins at once")
		}
		ended := make(chan error, 1)
		go func() { ended <- w.turn(t.Context(), late) }()
		synctest.Wait()
		began := time.Now()
		w.turnOut(late)
		if err := <-ended; err == nil || time.Since(began) > 0 {
			t.Errorf("one that is turned out waits %s, and then: %v", time.Since(began), err)
		}
	})
}

// TestWhoIsThere: an address counts until the last from there has left, and a
// place at least as long, however many come and go.
func TestWhoIsThere(t *testing.T) {
	const stays = "2001:db8:ffff:ffff::1"
	w := &waitingRoom{limit: 10}
	first, second := guestFrom(t, w, stays), guestFrom(t, w, stays)
	for i := range 2 * maxPlaces {
		if g := guestFrom(t, w, fmt.Sprintf("2001:db8:%x:%x::1", i>>12, i&0xfff)); !w.leave(g) {
			t.Fatalf("%s isn't the last from its address", g.ip)
		}
	}
	ip := netip.MustParseAddr(stays)
	if w.leave(first) || !w.from(ip) {
		t.Error("nobody is there when one of two has left")
	}
	if !w.leave(second) || w.from(ip) || len(w.present) > 0 {
		t.Errorf("%v are there when all have left", w.present)
	}
}

// TestAClosedRoom: all are turned out, and who comes is let in no more.
func TestAClosedRoom(t *testing.T) {
	w := &waitingRoom{limit: 10}
	guests := []*guest{guestFrom(t, w, "10.0.0.1"), guestFrom(t, w, "10.0.0.2")}
	w.proved(guests[0])
	w.close()
	for _, g := range guests {
		if !g.isOut() {
			t.Errorf("the guest from %s is still there", g.ip)
		}
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if w.enter(ours) != nil {
		t.Fatal("one more is let in")
	}
	if _, err := ours.Write([]byte{1}); err == nil {
		t.Error("its connection isn't closed")
	}
}
