package mesh

import (
	"slices"
	"testing"
	"time"
)

// TestWhoMakesRoom: when there are too many rumours, which of them goes.
func TestWhoMakesRoom(t *testing.T) {
	const most, total = 12, rumoursEach * 12
	tests := []struct {
		name string
		fill func(w *whisper) // up to total, of which the first informer claims most
		more int              // how many of another informer's claims are taken
		gone []int
	}{
		{"what the fewest claim", func(w *whisper) {
			for i := range most {
				w.hear(1, i)
				if i != 5 {
					w.hear(2, i)
				}
			}
			w.others(3, total-most)
		}, 1, []int{5}},
		{"not one that is dialled", func(w *whisper) {
			for i := range most - 1 {
				w.hear(1, i)
			}
			w.dials()
			w.hear(1, most-1)
			w.others(2, total-most)
		}, 1, []int{most - 1}},
		{"not one that was lost", func(w *whisper) {
			for i := range most {
				w.hear(1, i)
			}
			for i := range most - 1 {
				w.lose(instance(i), []string{addrOf(i, true)}, w.now.Add(time.Hour), w.now)
			}
			w.others(2, total-1)
		}, 1, []int{most - 1}},
		{"nobody for those who were lost", func(w *whisper) {
			for i := range total {
				w.lose(instance(i), []string{addrOf(i, true)}, w.now.Add(time.Hour), w.now)
			}
		}, most, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, most)
			tt.fill(w)
			before := len(w.all)
			for i := range tt.more {
				if !w.hear(50, 5000+i) {
					t.Errorf("claim %d of another is refused", i)
				}
			}
			for i := range before {
				there := w.all[keyOf(instance(i), []string{addrOf(i, true)})] != nil
				if i < most && there == slices.Contains(tt.gone, i) {
					t.Errorf("rumour %d is there: %v, want those of %v gone", i, there, tt.gone)
				}
			}
			w.check()
		})
	}
}

// others has informers claim n instances more, each a few.
func (w *whisper) others(from, n int) {
	const each = 6
	for i := range n {
		if !w.hear(from+i/each, 1000+i) {
			w.t.Fatalf("claim %d of the others is refused", i)
		}
	}
}

// TestTheLineGoesOn: those who wait for an informer's tokens are called one by
// one, though some of them are linked by now.
func TestTheLineGoesOn(t *testing.T) {
	const claims = 400
	w := newWhisper(t, claims)
	for i := range claims {
		w.hear(1, i)
	}
	dials := w.dials()
	linked, want := map[*rumour]bool{}, len(dials)
	for _, u := range w.all {
		if linked[u] = u.id[2]%2 == 0; !linked[u] && !u.dialling {
			want++
		}
	}
	dialled := 0
	for len(dials) > 0 {
		dialled += len(dials)
		for _, u := range dials {
			linked[u] = true
		}
		w.succeed(dials)
		dials, _ = w.due(w.now, func(u *rumour) bool { return linked[u] })
	}
	if dialled != want {
		t.Errorf("%d are dialled at once, want all %d who weren't linked", dialled, want)
	}
	w.check()
}

// TestTheShortestLine: what a liar claims among much else doesn't wait for its
// turn, if somebody else claims it, too.
func TestTheShortestLine(t *testing.T) {
	const lies = 300
	for _, order := range [][]int{{1, 2}, {2, 1}} {
		w := newWhisper(t, lies+1)
		for i := range lies {
			w.hear(1, 100+i)
		}
		for i := range learnedMost {
			w.hear(2, 1000+i)
		}
		w.fail(w.dials()) // and both have nothing left
		for _, from := range order {
			w.hear(from, 9)
		}
		for waited := time.Duration(0); ; waited += 100 * time.Millisecond {
			if slices.ContainsFunc(w.dials(), func(u *rumour) bool { return u.id == instance(9) }) {
				break
			}
			if waited > 2*time.Second {
				t.Errorf("claimed by %v: not dialled in %s", order, waited)
				break
			}
			w.pass(100 * time.Millisecond)
		}
		w.check()
	}
}

// TestAVictimsDoubts: however an address is named, it is dialled in vain so many
// times for each place that names it, and for so many places.
func TestAVictimsDoubts(t *testing.T) {
	addr := addrOf(9, true)
	tests := []struct {
		name string
		do   func(w *whisper) (dials int)
		want int
	}{
		{"withdrawn during each dial", func(w *whisper) (n int) {
			for range 10 * learnedFailures {
				w.hear(1, 9)
				dials := w.dials()
				w.unhear(1, 9)
				w.fail(dials)
				n += len(dials)
				w.pass(lostPauseMax)
			}
			return n
		}, learnedFailures},
		{"by two at first, of whom one pays", func(w *whisper) (n int) {
			w.hear(1, 9)
			w.hear(2, 9)
			n = w.failOften()
			for from := range 2 {
				w.unhear(1+from, 9)
				w.hear(1+from, 9)
			}
			return n + w.failOften()
		}, learnedFailures},
		{"hopeless once, and of another instance", func(w *whisper) int {
			w.hear(1, 9)
			dials := w.dials()
			w.end(dials, false, true)
			w.hear(1, 8, addr)
			return len(dials) + w.failOften()
		}, 1},
		{"from ever more places", func(w *whisper) (n int) {
			for from := range 2 * maxDoubtersOf {
				w.hear(1+from, 9)
				for range learnedFailures {
					dials := w.dials()
					w.fail(dials)
					n += len(dials)
					w.pass(5 * time.Second)
				}
				if p := w.doubts.of(addr, w.now).places; len(p) > maxDoubtersOf {
					w.t.Fatalf("%d places of it are kept", len(p))
				}
			}
			return n
		}, maxDoubtersOf * learnedFailures},
		{"from many places at once", func(w *whisper) int {
			for from := range 2 * maxDoubtersOf {
				w.hear(1+from, 9)
			}
			n := w.failOften()
			if p := w.doubts.of(addr, w.now).places; len(p) > maxDoubtersOf {
				w.t.Errorf("%d places of it are kept", len(p))
			}
			return n
		}, learnedFailures},
		{"after a link, though the doubt is old", func(w *whisper) int {
			w.hear(1, 9)
			w.failOften()
			w.pass(doubtTime / 2)
			w.doubts.of(addr, w.now)
			w.doubts.clear([]string{addr})
			w.unhear(1, 9)
			w.hear(1, 9)
			return w.failOften()
		}, learnedFailures},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 1000)
			if n := tt.do(w); n != tt.want {
				t.Errorf("%d dials in vain, want %d", n, tt.want)
			}
			w.check()
		})
	}
}
