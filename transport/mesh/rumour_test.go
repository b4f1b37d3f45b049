package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A whisper is a set of rumours in made-up time, in which nothing is random.
type whisper struct {
	*rumours
	t   *testing.T
	now time.Time
}

const whisperSelf = "10.0.0.1:4370"

func newWhisper(t *testing.T, most int) *whisper {
	t.Helper()
	return &whisper{
		rumours: newRumours(whisperSelf, most, func() float64 { return 0 }),
		t:       t, now: time.Unix(1_000_000, 0),
	}
}

func (w *whisper) pass(d time.Duration) { w.now = w.now.Add(d) }

func instance(i int) instanceID { return instanceID{byte(i >> 16), byte(i >> 8), byte(i), 1} }

// addrOf is an address for the i-th of those that this node dials first, or of
// those that dial this node first.
func addrOf(i int, first bool) string {
	for port := 1; ; port++ {
		addr := fmt.Sprintf("10.1.%d.%d:%d", i>>8, i&0xff, port)
		if dialsFirst(whisperSelf, addr) == first {
			return addr
		}
	}
}

// hear has an informer claim the i-th instance, at the addresses given or at
// one that this node dials first.
func (w *whisper) hear(from, i int, addrs ...string) bool {
	if len(addrs) == 0 {
		addrs = []string{addrOf(i, true)}
	}
	return w.claim(w.informer(instance(from), placeAt(from), w.now), instance(i), addrs, 1, w.now)
}

// placeAt is where the i-th informer is.
func placeAt(i int) netip.Prefix { return placeOf(hostIP(i)) }

func (w *whisper) unhear(from, i int) { w.withdraw(instance(from), instance(i)) }
func (w *whisper) mute(from int)      { w.silence(instance(from)) }

func (w *whisper) dials() []*rumour {
	dials, _ := w.due(w.now, func(*rumour) bool { return false })
	return dials
}

// want checks which instances are dialled now, and leaves the dials under way.
func (w *whisper) want(what string, instances ...int) []*rumour {
	w.t.Helper()
	dials := w.dials()
	var got []instanceID
	for _, u := range dials {
		got = append(got, u.id)
	}
	var want []instanceID
	for _, i := range instances {
		want = append(want, instance(i))
	}
	slices.SortFunc(got, compareInstances)
	slices.SortFunc(want, compareInstances)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: dials %s, want %s", what, got, want)
	}
	return dials
}

func compareInstances(a, b instanceID) int { return slices.Compare(a[:], b[:]) }

// end ends dials in the way that is given.
func (w *whisper) end(dials []*rumour, linked, never bool) {
	for _, u := range dials {
		w.dialled(u, linked, never, w.now)
	}
}

func (w *whisper) fail(dials []*rumour)    { w.end(dials, false, false) }
func (w *whisper) succeed(dials []*rumour) { w.end(dials, true, false) }

// failOften has all dials fail until there are no more within an hour, and
// returns how many there were.
func (w *whisper) failOften() (n int) {
	for range 3600 {
		dials := w.dials()
		n += len(dials)
		w.fail(dials)
		w.pass(time.Second)
	}
	return n
}

func TestRumours(t *testing.T) {
	tests := []struct {
		name string
		do   func(w *whisper)
	}{
		{"a claim is dialled once", func(w *whisper) {
			w.hear(1, 9)
			w.want("at once", 9)
			w.want("while that is under way")
		}},
		{"of several informers it is dialled once", func(w *whisper) {
			for from := range 5 {
				w.hear(from+1, 9)
			}
			w.want("at once", 9)
		}},
		{"repeating it changes nothing", func(w *whisper) {
			w.hear(1, 9)
			w.fail(w.want("at once", 9))
			w.hear(1, 9)
			w.want("at once again")
		}},
		{"somebody else's word is dialled sooner", func(w *whisper) {
			w.hear(1, 9)
			for range learnedFailures - 1 {
				w.fail(w.want("each time", 9))
				w.pass(lostPauseMax)
			}
			w.hear(2, 9)
			w.want("at once", 9)
		}},
		{"a link makes up for its failures", func(w *whisper) {
			w.hear(1, 9)
			for range learnedFailures - 1 {
				w.fail(w.want("each time", 9))
				w.pass(lostPauseMax)
			}
			w.succeed(w.want("the last time", 9))
			w.mute(9) // its link is gone
			if n := w.failOften(); n != learnedFailures {
				w.t.Errorf("%d more dials, want %d", n, learnedFailures)
			}
		}},
		{"a lie about its addresses doesn't hide it", func(w *whisper) {
			w.hear(1, 9, addrOf(500, true))
			w.hear(2, 9)
			w.want("both", 9, 9)
		}},
		{"what the only one withdraws is forgotten", func(w *whisper) {
			w.hear(1, 9)
			w.unhear(1, 9)
			w.want("nothing")
			w.wantEmpty(1)
		}},
		{"what one of two withdraws is dialled", func(w *whisper) {
			w.hear(1, 9)
			w.hear(2, 9)
			w.unhear(1, 9)
			w.want("the other's word", 9)
		}},
		{"who didn't claim it can't withdraw it", func(w *whisper) {
			w.hear(1, 9)
			w.hear(2, 8)
			w.unhear(2, 9)
			w.unhear(3, 9)
			w.want("both", 8, 9)
		}},
		{"an instance is withdrawn at all its addresses", func(w *whisper) {
			w.hear(1, 9)
			w.hear(1, 9, addrOf(500, true))
			w.unhear(1, 9)
			w.want("nothing")
			w.wantEmpty(1)
		}},
		{"an informer's end takes what it alone claims", func(w *whisper) {
			w.hear(1, 8)
			w.hear(1, 9)
			w.hear(2, 9)
			w.mute(1)
			w.mute(3) // has never said anything
			w.want("the other's word", 9)
		}},
		{"what is withdrawn during its dial goes after it", func(w *whisper) {
			w.hear(1, 9)
			dials := w.want("at once", 9)
			w.mute(1)
			w.fail(dials)
			w.pass(time.Hour)
			w.want("nothing")
			w.wantEmpty(0)
		}},
		{"what is claimed again during its dial stays", func(w *whisper) {
			w.hear(1, 9)
			dials := w.want("at once", 9)
			w.unhear(1, 9)
			w.hear(2, 9)
			w.fail(dials)
			w.pass(lostPauseMin)
			w.want("again", 9)
		}},
		{"what is skipped waits", func(w *whisper) {
			w.hear(1, 9)
			dials, next := w.due(w.now, func(u *rumour) bool { return u.id == instance(9) })
			if len(dials) > 0 || !next.Equal(w.now.Add(skipPause)) {
				w.t.Errorf("dials %d, next after %s", len(dials), next.Sub(w.now))
			}
			w.want("before it is looked at again")
			w.pass(skipPause)
			w.want("when it isn't any more", 9)
		}},
		{"what is skipped is dialled once its peer is gone", func(w *whisper) {
			w.hear(1, 9)
			w.due(w.now, func(u *rumour) bool { return u.id == instance(9) })
			w.mute(9)
			w.want("at once", 9)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 100)
			tt.do(w)
			w.check()
		})
	}
}

// wantEmpty checks that nothing is left but so many informers.
func (w *whisper) wantEmpty(informers int) {
	w.t.Helper()
	if len(w.all) > 0 || len(w.informers) != informers || w.lost != 0 {
		w.t.Errorf("left are %d rumours, %d informers, %d lost; want %d informers", len(w.all), len(w.informers), w.lost, informers)
	}
}

func TestRumoursGiveUp(t *testing.T) {
	tests := []struct {
		name  string
		then  func(w *whisper)
		dials int
	}{
		{"for good", func(*whisper) {}, 0},
		{"though it is said again", func(w *whisper) { w.hear(1, 9) }, 0},
		{"until somebody else says it", func(w *whisper) { w.hear(2, 9) }, learnedFailures},
		{"though its informer says it anew", func(w *whisper) { w.unhear(1, 9); w.hear(1, 9) }, 0},
		{"though its informer links anew", func(w *whisper) { w.mute(1); w.hear(1, 9) }, 0},
		{"though it is said of others at the address", func(w *whisper) {
			for i := range 50 {
				w.hear(1, 10+i, addrOf(9, true))
			}
		}, 0},
		{"though another instance of the place says it", func(w *whisper) {
			w.claim(w.informer(instance(2), placeAt(1), w.now), instance(8), []string{addrOf(9, true)}, 1, w.now)
		}, 0},
		{"though two who have said it go on", func(w *whisper) {
			w.hear(2, 9)
			w.failOften()
			for range 10 {
				w.unhear(1, 9)
				w.hear(1, 9)
				w.unhear(2, 9)
				w.hear(2, 9)
			}
		}, 0},
		{"but for another address that it has", func(w *whisper) { w.hear(1, 8, addrOf(9, true), addrOf(8, true)) }, learnedFailures},
		{"until it is said anew after a time", func(w *whisper) {
			w.pass(2 * doubtTime)
			w.unhear(1, 9)
			w.hear(1, 9)
		}, learnedFailures},
		{"until it was linked and lost", func(w *whisper) {
			u := w.all[keyOf(instance(9), []string{addrOf(9, true)})]
			w.lose(u.id, u.addrs, w.now.Add(time.Minute), w.now)
			w.pass(lostPauseMin)
			w.succeed(w.want("lost", 9))
		}, learnedFailures},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 100)
			w.hear(1, 9)
			if n := w.failOften(); n != learnedFailures {
				t.Errorf("%d dials, want %d", n, learnedFailures)
			}
			tt.then(w)
			if n := w.failOften(); n != tt.dials {
				t.Errorf("%d dials after that, want %d", n, tt.dials)
			}
			w.check()
		})
	}
	t.Run("at once if it is hopeless", func(t *testing.T) {
		w := newWhisper(t, 100)
		w.hear(1, 9)
		w.lose(instance(9), []string{addrOf(9, true)}, w.now.Add(time.Hour), w.now)
		w.pass(lostPauseMin)
		w.end(w.want("at first", 9), false, true)
		if n := w.failOften(); n != 0 || w.lost != 0 {
			t.Errorf("%d dials after that, %d lost", n, w.lost)
		}
		w.hear(2, 9)
		w.want("until somebody else says it", 9)
	})
}

func TestRumoursSpread(t *testing.T) {
	const almost = 1 - 1e-9
	tests := []struct {
		name   string
		crowd  int
		first  bool
		random float64
		want   time.Duration
	}{
		{"the first of few", 10, true, 0, 0},
		{"the last of few", 10, true, almost, 50 * time.Millisecond},
		{"the last of many", 10_000, true, almost, time.Second},
		{"half of a hundred", 100, true, 0.5, 250 * time.Millisecond},
		{"the other side waits for all", 10, false, 0, 550 * time.Millisecond},
		{"the other side, the last of many", 10_000, false, almost, 2500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 100)
			w.random = func() float64 { return tt.random }
			w.claim(w.informer(instance(1), placeAt(1), w.now), instance(9), []string{addrOf(9, tt.first)}, tt.crowd, w.now)
			_, next := w.due(w.now.Add(-time.Second), func(*rumour) bool { return false })
			if got := next.Sub(w.now); got > tt.want || got < tt.want-time.Microsecond {
				t.Errorf("dialled after %s, want %s", got, tt.want)
			}
			w.now = next
			w.want("then", 9)
		})
	}
}

// manyAddrs are n addresses of the i-th instance.
func manyAddrs(i, n int) (addrs []string) {
	for a := range n {
		addrs = append(addrs, fmt.Sprintf("10.2.%d.%d:%d", i>>8, i&0xff, a+1))
	}
	if !dialsFirst(whisperSelf, addrs[0]) {
		addrs[0] = addrOf(i, true)
	}
	return addrs
}

// TestRumoursArePaidFor: what one informer can have dialled is bounded, by how
// many dials are under way and by a rate of addresses.
func TestRumoursArePaidFor(t *testing.T) {
	const claims = 200
	tests := []struct {
		name     string
		addrs    int // of each instance
		end      func(w *whisper, dials []*rumour)
		now, ten int // dials at once, and after ten seconds more
	}{
		{"under way", 1, func(*whisper, []*rumour) {}, learnedMost, 0},
		{"failed", 1, (*whisper).fail, learnedMost, 10 * learnedPerSec},
		{"many addresses", maxAddrs, (*whisper).fail, learnedMost / maxAddrs, 10 * learnedPerSec / maxAddrs},
		{"linked", 1, (*whisper).succeed, claims, 0},
		{"linked, many addresses", maxAddrs, (*whisper).succeed, claims, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, claims)
			for i := range claims {
				w.hear(1, 100+i, manyAddrs(i, tt.addrs)...)
			}
			// What failed isn't dialled again in ten seconds, nor what is linked.
			gone := map[*rumour]bool{}
			step := func() (n int) {
				for {
					dials, _ := w.due(w.now, func(u *rumour) bool { return gone[u] })
					if len(dials) == 0 {
						return n
					}
					n += len(dials)
					for _, u := range dials {
						gone[u] = true
					}
					tt.end(w, dials)
					w.check()
				}
			}
			if n := step(); n != tt.now {
				t.Errorf("%d dials at once, want %d", n, tt.now)
			}
			later := 0
			for range 100 {
				w.pass(100 * time.Millisecond)
				later += step()
			}
			if later > tt.ten || later < tt.ten-1 {
				t.Errorf("%d dials in ten seconds, want %d", later, tt.ten)
			}
		})
	}
	t.Run("by another informer", func(t *testing.T) {
		w := newWhisper(t, claims)
		for i := range claims {
			w.hear(1, 100+i)
		}
		if n := len(w.dials()); n != learnedMost {
			t.Errorf("%d dials for the first, want %d", n, learnedMost)
		}
		for i := range claims {
			w.hear(2, 100+i)
		}
		if n := len(w.dials()); n != learnedMost {
			t.Errorf("%d more dials, want %d", n, learnedMost)
		}
		w.check()
	})
}

func TestLostRumours(t *testing.T) {
	const day = 24 * time.Hour
	addrs := []string{addrOf(9, true)}
	tests := []struct {
		name string
		do   func(w *whisper)
	}{
		{"with backoff, until it is forgotten", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(10*time.Minute), w.now)
			w.want("not at once")
			began, last := w.now, w.now
			var pauses []time.Duration
			for w.now.Sub(began) < time.Hour {
				w.pass(100 * time.Millisecond)
				if dials := w.dials(); len(dials) > 0 {
					pauses = append(pauses, w.now.Sub(last))
					last = w.now
					w.fail(dials)
				}
			}
			// Not being random here, each is a half of what it may be at most.
			var ms []int64
			for _, p := range pauses[:8] {
				ms = append(ms, p.Milliseconds())
			}
			if want := []int64{500, 500, 1000, 2000, 4000, 8000, 15000, 15000}; !slices.Equal(ms, want) {
				w.t.Errorf("pauses %d ms, want %d", ms, want)
			}
			if end := last.Sub(began); end > 10*time.Minute || end < 10*time.Minute-15*time.Second {
				w.t.Errorf("dialled until %s, want 10 minutes", end)
			}
			w.wantEmpty(0)
		}},
		{"lost again, from the beginning", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			for range 100 {
				w.pass(lostPauseMax)
				w.fail(w.want("each time", 9))
			}
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.pass(lostPauseMin)
			w.fail(w.want("at once", 9))
			w.pass(lostPauseMin)
			w.want("and soon again", 9)
		}},
		{"they cost nothing", func(w *whisper) {
			for i := range 3 * learnedMost {
				w.hear(1, i)
				w.lose(instance(i), []string{addrOf(i, true)}, w.now.Add(day), w.now)
			}
			w.pass(lostPauseMin)
			if n := len(w.dials()); n != 3*learnedMost {
				w.t.Errorf("%d dials, want %d", n, 3*learnedMost)
			}
		}},
		{"found by its dial", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.pass(lostPauseMin)
			w.succeed(w.want("then", 9))
			w.wantEmpty(0)
		}},
		{"linked by another link", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.linked(instance(9), []string{addrOf(500, true)})
			w.wantEmpty(0)
		}},
		{"linked during its dial", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.pass(lostPauseMin)
			dials := w.want("then", 9)
			w.linked(instance(9), addrs)
			w.succeed(dials)
			w.wantEmpty(0)
		}},
		{"another has its address", func(w *whisper) {
			w.lose(instance(9), []string{"10.9.9.9:1", addrs[0]}, w.now.Add(day), w.now)
			w.lose(instance(7), []string{addrOf(7, true)}, w.now.Add(day), w.now)
			w.linked(instance(8), addrs)
			w.pass(lostPauseMin)
			w.want("the one who has not", 7)
		}},
		{"another has its address, but it is claimed", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.hear(1, 9)
			w.linked(instance(8), addrs)
			w.pass(lostPauseMin)
			w.want("it is", 9)
			if w.lost != 0 {
				w.t.Errorf("%d lost", w.lost)
			}
		}},
		{"a claim is dialled sooner", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			for range 10 {
				w.pass(lostPauseMax)
				w.fail(w.want("each time", 9))
			}
			w.hear(1, 9)
			w.want("at once", 9)
		}},
		{"a claim after the loss is dialled at once", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.hear(1, 9)
			w.want("at once", 9)
		}},
		{"given up at an address", func(w *whisper) {
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.hear(1, 8, addrs[0])
			w.hear(1, 7)
			if ids := w.giveUp(addrs[0]); !slices.Equal(ids, []instanceID{instance(9)}) || w.isLost(addrs[0]) || w.isLost(addrOf(7, true)) {
				w.t.Errorf("%s are given up, want the one that was lost", ids)
			}
			w.want("what is claimed", 7, 8)
		}},
		{"claims don't put it off", func(w *whisper) {
			late := []string{addrOf(9, false)}
			w.lose(instance(9), late, w.now.Add(day), w.now)
			for range 10 {
				w.hear(1, 9, late...)
				w.pass(lostPauseMin / 10)
				w.unhear(1, 9)
			}
			w.want("in time", 9)
		}},
		{"an informer's end doesn't forget it", func(w *whisper) {
			w.hear(1, 9)
			w.lose(instance(9), addrs, w.now.Add(day), w.now)
			w.mute(1)
			w.pass(lostPauseMin)
			w.want("then", 9)
		}},
		{"no more than so many", func(w *whisper) {
			for i := range maxLost + 10 {
				w.lose(instance(i), []string{addrOf(i, true)}, w.now.Add(day+time.Duration(i)), w.now)
			}
			w.pass(lostPauseMin)
			dials := w.dials()
			if len(dials) != maxLost || slices.ContainsFunc(dials, func(u *rumour) bool { return u.id == instance(9) }) {
				w.t.Errorf("%d are left, want the newest %d", len(dials), maxLost)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 1000)
			tt.do(w)
			w.check()
		})
	}
}

// TestWantedRumours: a caller of Connect dials by itself, and comes first for as
// long as it goes on.
func TestWantedRumours(t *testing.T) {
	tests := []struct {
		name string
		know func(w *whisper)
	}{
		{"lost", func(w *whisper) {
			w.lose(instance(9), []string{"10.9.9.9:1", addrOf(9, true)}, w.now.Add(time.Hour), w.now)
		}},
		{"claimed", func(w *whisper) { w.hear(1, 9, addrOf(9, true), "10.9.9.9:1") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, 100)
			tt.know(w)
			for range 10 {
				w.wanted(addrOf(9, true), w.now)
				w.wanted(addrOf(8, true), w.now) // nobody knows it
				w.pass(ownerTime - 1)
				w.want("while the caller goes on")
			}
			_, next := w.due(w.now, func(*rumour) bool { return false })
			if want := w.now.Add(1); !next.Equal(want) {
				t.Errorf("to ask again at %s, want %s", next, want)
			}
			w.pass(1)
			w.want("after that", 9)
			w.check()
		})
	}
}

func TestClaimsAreBounded(t *testing.T) {
	const most = 10
	w := newWhisper(t, most)
	for i := range 3 * most {
		if ok := w.hear(1, i); ok != (i < most) {
			t.Errorf("claim %d is taken: %v", i, ok)
		}
	}
	if !w.hear(1, 0) {
		t.Error("one that it has is refused")
	}
	if !w.hear(2, most) {
		t.Error("another informer is refused")
	}
	w.unhear(1, 0)
	if !w.hear(1, most+1) || w.hear(1, most+2) {
		t.Error("one that is withdrawn makes room for one")
	}
	if n := len(w.all); n != most+1 {
		t.Errorf("%d rumours, want %d", n, most+1)
	}
	w.check()
}

// TestLongClaimsWeighMore: so one informer can't fill the memory with names.
func TestLongClaimsWeighMore(t *testing.T) {
	const most = 12
	w := newWhisper(t, most)
	long := make([]string, maxAddrs) // as one claims with as much as it may
	for i := range long {
		long[i] = strings.Repeat(string(rune('a'+i)), 250) + ":4370"
	}
	if w.hear(1, 100, long...) {
		t.Errorf("%d addresses of 255 bytes are taken where %d bytes may be", len(long), most*claimBytes)
	}
	taken := 0
	for i := range most {
		if w.hear(1, 200+i, long[i]+"0", long[(i+1)%len(long)]) {
			taken++
		}
		w.check()
	}
	if taken != most/2 {
		t.Errorf("%d claims that count as two are taken, want %d", taken, most/2)
	}
	w.mute(1)
	w.check()
}

// TestRumoursAreBounded: when there are too many, those of the informer with
// the most claims make room for one who has less than its share.
func TestRumoursAreBounded(t *testing.T) {
	const most = 12
	w := newWhisper(t, most)
	total := rumoursEach * most
	for i := range total {
		if !w.hear(1+i/most, 100+i) {
			t.Fatalf("claim %d is refused", i)
		}
	}
	taken := 0
	for i := range most {
		if w.hear(50, 1000+i) {
			taken++
		}
		w.check()
	}
	if share := total / (rumoursEach + 1); taken != share {
		t.Errorf("one more informer has %d claims, want its share of %d", taken, share)
	}
	if w.hear(1, 2000) {
		t.Error("one who has its share is given more")
	}
	if len(w.all) != total {
		t.Errorf("%d rumours are kept, want %d", len(w.all), total)
	}
	if !w.hear(51, 1000) {
		t.Error("what others claim too is refused")
	}
	w.check()
}

// TestPursesOutliveTheirInformers: who links anew has what was left, and no
// dials under way are forgotten; who has another place has a full one.
func TestPursesOutliveTheirInformers(t *testing.T) {
	t.Parallel()
	w := newWhisper(t, 100)
	dials, k := 0, 0
	anew := func(from, place int, end func([]*rumour)) {
		in := w.informer(instance(from), placeAt(place), w.now)
		for range 2 * learnedMost {
			k++
			w.claim(in, instance(k), []string{addrOf(k, true)}, 1, w.now)
		}
		d := w.dials()
		dials += len(d)
		end(d)
		w.mute(from)
		w.check()
	}
	const seconds = 20
	for i := range 10 * seconds {
		anew(10_000+i%3, 1, w.fail)
		w.pass(100 * time.Millisecond)
	}
	if want := learnedMost + learnedPerSec*seconds; dials > want || dials < want-2 {
		t.Errorf("%d dials in %d s, want %d", dials, seconds, want)
	}
	for i := range 10 { // none ends
		dials = 0
		anew(10_000, 2, func([]*rumour) {})
		if want := learnedMost; i == 0 && dials != want || i > 0 && dials > 0 {
			t.Errorf("%d dials the %d. time", dials, i)
		}
		w.pass(time.Minute)
	}
	for i := range maxLeft + 10 {
		anew(10_000, 100+i, w.fail) // with nothing left
	}
	if len(w.left) != maxLeft {
		t.Errorf("%d purses are left, want the latest %d", len(w.left), maxLeft)
	}
	w.pass(time.Hour)
	if w.informer(instance(10_000), placeAt(1), w.now); len(w.left) != 0 {
		t.Errorf("%d purses are left when all are full again", len(w.left))
	}
}

// TestDoubtsAreBounded: they last a time, and the oldest go first.
func TestDoubtsAreBounded(t *testing.T) {
	var ds doubts
	now := time.Unix(1_000_000, 0)
	fail := func(i int) { ds.failed(&rumour{tries: []string{addrOf(i, true)}}, placeAt(1), true, now) }
	trusted := func(i int) bool { return len(ds.leave([]string{addrOf(i, true)}, now)) > 0 }
	for i := range 10 * maxDoubts {
		fail(i)
	}
	if n := len(ds.young) + len(ds.old); n > 2*maxDoubts {
		t.Errorf("%d are kept", n)
	}
	if trusted(10*maxDoubts-1) || !trusted(0) {
		t.Error("the oldest is kept, or the newest isn't")
	}
	for i := range 2 * maxDoubtersOf {
		ds.vouch(addrOf(10*maxDoubts-1, true), placeAt(i), now)
	}
	if n := len(ds.of(addrOf(10*maxDoubts-1, true), now).places); n != maxDoubtersOf {
		t.Errorf("%d places of one are kept, want %d", n, maxDoubtersOf)
	}
	fail(7)
	now = now.Add(doubtTime)
	if trusted(7) {
		t.Error("one is forgotten too early")
	}
	now = now.Add(doubtTime)
	if !trusted(7) {
		t.Error("one is kept too long")
	}
}

// TestDueLooksAtFew: of many rumours that can't be paid for, that are linked
// already, or that nobody believes any more, only a few are looked at each time.
func TestDueLooksAtFew(t *testing.T) {
	const claims = 4000
	tests := []struct {
		name string
		skip bool
		addr func(i int) string
		most int // of looks in a second, when all were looked at once
	}{
		{"not paid for", false, func(i int) string { return addrOf(i, true) }, claims / 50},
		{"linked", true, func(i int) string { return addrOf(i, true) }, 0},
		{"at an address that is dialled in vain", false, func(int) string { return "10.9.9.9:1" }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWhisper(t, claims)
			w.doubts.failed(&rumour{tries: []string{"10.9.9.9:1"}}, placeAt(1), true, w.now)
			for i := range claims {
				w.hear(1, i, tt.addr(i))
			}
			looks := 0
			skip := func(*rumour) bool { looks++; return tt.skip }
			dials, _ := w.due(w.now, skip)
			for range 10 {
				w.fail(dials)
				looks = 0
				for range 10 {
					w.pass(100 * time.Millisecond)
					dials, _ = w.due(w.now, skip)
				}
				if looks > tt.most {
					t.Errorf("%d of %d are looked at in a second, want %d at most", looks, claims, tt.most)
				}
			}
			w.check()
		})
	}
}

// check compares what is counted with what is there.
func (w *whisper) check() {
	w.t.Helper()
	lost, planned := 0, 0
	claims, open, lines := map[*informer]int{}, map[*purse]int{}, map[*purse]int{}
	for key, u := range w.all {
		if key != keyOf(u.id, u.addrs) {
			w.t.Fatalf("%v is kept as %v", u, key)
		}
		if !u.lostUntil.IsZero() {
			lost++
		}
		if len(u.informers) == 0 && u.lostUntil.IsZero() && !u.dialling {
			w.t.Fatalf("%v is kept for nothing", u)
		}
		for _, in := range u.informers {
			claims[in]++
			if !slices.Contains(in.of[u.id], u) {
				w.t.Fatalf("an informer of %v doesn't know that it claims it", u)
			}
		}
		if u.paidBy != nil {
			open[u.paidBy]++
		}
		if u.paidBy != nil && !u.dialling {
			w.t.Fatalf("%v is paid for and not dialled", u)
		}
		planned += w.checkPlan(u)
		if u.line != nil {
			lines[u.line]++
		}
	}
	if lost != w.lost || lost > maxLost || planned != len(w.agenda) || len(w.all) > rumoursEach*w.most+lost {
		w.t.Fatalf("%d of %d are lost, counted are %d; %d are planned, and %d on the agenda", lost, len(w.all), w.lost, planned, len(w.agenda))
	}
	for _, p := range w.left {
		w.checkPurse(p, open[p], 0)
	}
	for id, in := range w.informers {
		of, weight := 0, 0
		for _, us := range in.of {
			of += len(us)
			for _, u := range us {
				weight += u.weight()
			}
		}
		if of != claims[in] || in.claims != weight || weight > w.most {
			w.t.Fatalf("%s: counted are %d claims, there are %d", id, in.claims, claims[in])
		}
		w.checkPurse(in.purse, open[in.purse], lines[in.purse])
		delete(claims, in)
	}
	if len(claims) > 0 {
		w.t.Fatalf("%d informers are gone, and still claim something", len(claims))
	}
}

// checkPlan checks that a rumour is on the agenda if there is something to do,
// which it returns as a number.
func (w *whisper) checkPlan(u *rumour) int {
	w.t.Helper()
	hopes := !u.lostUntil.IsZero() || len(u.informers) > 0 && u.failures < learnedFailures
	if planned := u.index > 0; planned != (hopes && !u.dialling) || planned && w.agenda[u.index-1] != u {
		w.t.Fatalf("%v is planned: %v", u, planned)
	}
	if u.line != nil && (!u.line.line[u] || u.index == 0) {
		w.t.Fatalf("%v waits where nobody calls it", u)
	}
	return min(u.index, 1)
}

func (w *whisper) checkPurse(p *purse, open, waiting int) {
	w.t.Helper()
	if p.open != open || p.open > learnedMost || len(p.line) != waiting || p.tokens.tokens < 0 || p.tokens.tokens > learnedMost {
		w.t.Fatalf("a purse has %v tokens, %d dials of %d, and %d of %d wait", p.tokens.tokens, p.open, open, len(p.line), waiting)
	}
}

// TestRandomRumours: whatever happens in whatever order, the counts agree with
// what is there, and nothing is left when all is over.
func TestRandomRumours(t *testing.T) {
	t.Parallel()
	const (
		informers = 4
		instances = 12
		steps     = 4000
	)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := newWhisper(t, instances-2)
			w.random = rnd.Float64
			addrs := make([][]string, instances)
			for i := range addrs {
				addrs[i] = manyAddrs(i/2, 1+rnd.IntN(maxAddrs)) // two have some in common
			}
			var dials []*rumour
			happens := []func(from, i int){
				func(from, i int) { w.hear(from, i, addrs[i]...) },
				func(from, i int) { w.hear(from, i, addrs[i][:1]...) },
				func(from, i int) { w.unhear(from, i) },
				func(from, _ int) {
					if rnd.IntN(10) == 0 {
						w.mute(from)
					}
				},
				func(_, i int) {
					w.lose(instance(i), addrs[i], w.now.Add(time.Duration(rnd.IntN(int(time.Minute)))), w.now)
				},
				func(_, i int) { w.linked(instance(i), addrs[i]) },
				func(_, i int) { w.wanted(addrs[i][0], w.now) },
				func(int, int) { w.pass(time.Duration(rnd.IntN(int(20 * time.Second)))) },
				func(int, int) { dials = append(dials, w.dials()...) },
				func(int, int) {
					if len(dials) > 0 {
						linked := rnd.IntN(3) == 0
						w.end(dials[:1], linked, !linked && rnd.IntN(3) == 0)
						dials = dials[1:]
					}
				},
			}
			dialled := 0
			for range steps {
				before := len(dials)
				happens[rnd.IntN(len(happens))](1+rnd.IntN(informers), rnd.IntN(instances))
				dialled += max(0, len(dials)-before)
				w.check()
			}
			if dialled < steps/100 {
				t.Errorf("only %d dials in %d steps", dialled, steps)
			}
			w.fail(dials)
			for from := range informers {
				w.mute(1 + from)
			}
			for i := range instances {
				w.linked(instance(i), addrs[i])
			}
			w.wantEmpty(0)
		})
	}
}
