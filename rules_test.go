package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of this file bear the numbers of the rules that always hold; see
// the package comment and the README.

func TestRule01_AFailureNeverRemovesANode(t *testing.T) {
	failures := map[string]func(*source){
		"Fail":   func(s *source) { s.r().Fail(errSource) },
		"error":  func(s *source) { s.end <- errSource },
		"panic":  func(s *source) { s.end <- errPanic },
		"broken": func(s *source) { s.r().Replace(nodes("not a node")) },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1", "b:1")
				src := w.startOne()
				src.r().Replace(nodes("a:1", "b:1"))
				w.wantLinked("at first", "a:1", "b:1")
				for range 100 {
					fail(src)
					time.Sleep(time.Minute)
				}
				w.wantLinked("after 100 failures", "a:1", "b:1")
				w.net.Break("me:1", "a:1")
				time.Sleep(time.Second)
				w.wantLinked("a link that broke meanwhile is healed", "a:1", "b:1")
			})
		})
	}
}

func TestRule02_MissingIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Nanosecond)
		w.wantLinked("in the grace", "a:1", "b:1")
		time.Sleep(time.Nanosecond)
		w.wantLinked("after the grace, though the source said nothing more", "a:1")
	})
}

func TestRule02_ALingeringNodeIsNotDialled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		w.net.Break("me:1", "b:1")
		time.Sleep(defaultRemoveGrace / 2)
		w.wantLinked("it is gone", "a:1")
	})
}

func TestRule02_AFailureStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Second)
		src.r().Fail(errSource)
		time.Sleep(time.Hour)
		w.wantLinked("while the source fails", "a:1", "b:1")
		src.r().Replace(nodes("a:1"))
		time.Sleep(defaultRemoveGrace - time.Second)
		w.wantLinked("the clock begins anew", "a:1", "b:1")
		time.Sleep(time.Second)
		w.wantLinked("and runs out", "a:1")
	})
}

func TestRule02_ListedAgainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		for range 5 {
			src.r().Replace(nodes("a:1", "b:1"))
			time.Sleep(time.Second)
			src.r().Replace(nodes("a:1"))
			time.Sleep(defaultRemoveGrace - time.Second)
		}
		w.wantLinked("never missing for the whole grace", "a:1", "b:1")
	})
}

func TestRule02_RemoveActsAtOnce_AndSoDoesNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1")
		src := w.startOne(WithRemoveGrace(0))
		src.r().Replace(nodes("a:1", "b:1", "c:1"))
		src.r().Remove("c:1")
		w.wantLinked("removed", "a:1", "b:1")
		src.r().Replace(nodes("a:1"))
		w.wantLinked("no grace", "a:1")
	})
}

func TestRule02_KeptIsNeitherDialledNorCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1", "c:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1", "b:1"))
		src.r().Replace(nodes("a:1"), "b:1", "c:1")
		time.Sleep(time.Hour)
		w.wantLinked("terminating, but linked", "a:1", "b:1")
		w.net.Break("me:1", "b:1")
		time.Sleep(time.Hour)
		w.wantLinked("not dialled", "a:1")
	})
}

func TestRule02_AnAnswerOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		src := w.startOne()
		src.r().Replace(nodes("a:1"))
		src.r().Replace(nodes("me:1"))
		w.net.Break("me:1", "a:1")
		time.Sleep(defaultRemoveGrace / 2)
		w.wantLinked("its nodes stay wanted", "a:1")
		src.r().Fail(errSource)
		time.Sleep(time.Hour)
		w.net.Break("me:1", "a:1")
		time.Sleep(backoffMax)
		w.wantLinked("so too when the source fails", "a:1")
		src.r().Replace(nodes("me:1"))
		time.Sleep(defaultRemoveGrace)
		w.wantLinked("through the grace, not longer")
	})
}

func TestRule02_AnAnswerOfNobodyIsAskedForTwiceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1")
		var asked []time.Time // for nobody
		first := true
		poll := Poll(time.Hour, func(context.Context) ([]Node, error) {
			if first {
				first = false
				return nodes("a:1"), nil
			}
			asked = append(asked, time.Now())
			return nodes("me:1"), nil
		})
		w.start([]Topology{{Name: "test", Strategy: poll}})
		synctest.Wait()
		events := w.sup.Events(t.Context())
		for e := range events {
			if _, cut := e.(NodeDisconnected); cut {
				break
			}
		}
		synctest.Wait()
		before := 0
		for _, at := range asked[1:] {
			if at.Before(asked[0].Add(defaultRemoveGrace)) {
				before++
			}
		}
		if d := time.Since(asked[0]); before < 2 || d != defaultRemoveGrace {
			t.Errorf("cut after %s, and asked %d times meanwhile; want %s and 2 or more", d, before, defaultRemoveGrace)
		}
	})
}

func TestRule03_HintsDontPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		src := w.startOne()
		src.r().Add("a:1", "b:1")
		src.r().Add("a:1")
		src.r().Replace(nodes())
		time.Sleep(24 * time.Hour)
		w.wantLinked("while their links live", "a:1", "b:1")
	})
}

func TestRule03_AHintsTimeBeginsWhenItsLinkGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join("a:1")
		src := w.startOne()
		src.r().Add("a:1")
		src.r().Replace(nil) // answers without it
		time.Sleep(3 * defaultHintTTL)
		a.Crash()
		time.Sleep(defaultHintTTL - time.Second)
		if n := w.sup.Status().Topologies[0].Nodes; len(n) != 1 || n[0].Want != Hint {
			t.Errorf("just before it is over: %+v", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.sup.Status().Topologies[0].Nodes; len(n) != 0 {
			t.Errorf("when it is over: %+v", n)
		}
	})
}

func TestRule03_HintsExpire(t *testing.T) {
	tests := []struct {
		name  string
		after func(src *source)
		stays bool
	}{
		{"once the source answers without it", func(src *source) { src.r().Add() }, false},
		{"not while the source says nothing", func(*source) {}, true},
		{"not while it fails", func(src *source) { src.r().Add(); src.r().Fail(errSource) }, true},
		{"not by an answer in part", func(src *source) { src.r().Fail(errSource); src.r().Add() }, true},
		{"not when it is heard of again", func(src *source) { src.r().Add(); src.r().Add("a:1") }, true},
		{"not while Run restarts", func(src *source) { src.r().Add(); src.end <- errSource }, true},
		{"not after Run returned nil", func(src *source) { src.r().Add(); src.end <- nil }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				src := w.startOne()
				src.r().Add("a:1")
				tt.after(src)
				time.Sleep(2 * defaultHintTTL)
				w.join("a:1")
				time.Sleep(backoffMax)
				if tt.stays {
					w.wantLinked("it is dialled for ever", "a:1")
				} else {
					w.wantLinked("it is forgotten")
				}
			})
		})
	}
}

func TestRule07_AStrategyThatPanicsTouchesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a:1", "b:1")
		bad, good := newSource(), newSource()
		w.start([]Topology{{Name: "bad", Strategy: bad}, {Name: "good", Strategy: good}})
		bad.r().Replace(nodes("a:1"))
		good.r().Replace(nodes("b:1"))
		for range 10 {
			bad.end <- errPanic
		}
		w.wantLinked("all stay", "a:1", "b:1")
		if bad.ran() < 10 || good.ran() != 1 {
			t.Errorf("run %d and %d times, want 10 or more and 1", bad.ran(), good.ran())
		}
		time.Sleep(backoffMax)
		bad.r().Replace(nodes())
		time.Sleep(defaultRemoveGrace)
		w.wantLinked("it works again", "b:1")
	})
}
