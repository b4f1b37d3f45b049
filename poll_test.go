package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// lookups counts what Poll asks, and says what a test makes it say.
type lookups struct {
	answer func(ctx context.Context) ([]Node, error)
	at     []time.Time
}

// poll runs Poll for a while and returns when it asked.
func (l *lookups) poll(t *testing.T, interval, during time.Duration) (w *world, at []time.Time) {
	t.Helper()
	w = newWorld(t, "a:1")
	w.start([]Topology{{Name: "test", Strategy: Poll(interval, func(ctx context.Context) ([]Node, error) {
		l.at = append(l.at, time.Now())
		return l.answer(ctx)
	})}})
	time.Sleep(during)
	w.sup.Stop()
	if err := w.sup.Wait(); err != nil {
		t.Error(err)
	}
	return w, l.at
}

func TestPollAsksAtOnceAndAtEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l := &lookups{answer: func(context.Context) ([]Node, error) { return nodes("a:1"), nil }}
		_, at := l.poll(t, time.Minute, time.Hour)
		if len(at) < 55 || !at[0].Equal(began) {
			t.Fatalf("asked %d times, first at %v", len(at), at)
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < 54*time.Second || d > 66*time.Second {
				t.Errorf("asked after %s, want a minute give or take a tenth", d)
			}
		}
	})
}

func TestPollAsksSoonerAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{answer: func(context.Context) ([]Node, error) { return nil, errSource }}
		_, at := l.poll(t, 5*time.Second, time.Hour)
		for i := 1; i < len(at); i++ {
			most := min(backoffCeiling(i)*12/10, 5500*time.Millisecond)
			if d := at[i].Sub(at[i-1]); d > most || d < min(backoffCeiling(i)*8/10, 4500*time.Millisecond) {
				t.Errorf("asked %s after failure %d, want about %s", d, i, min(backoffCeiling(i), 5*time.Second))
			}
		}
		if len(at) < 600 {
			t.Errorf("asked %d times in an hour", len(at))
		}
	})
}

func TestPollBoundsEachLookup(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{time.Second: pollTimeoutMin, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var took []time.Duration
			l := &lookups{answer: func(ctx context.Context) ([]Node, error) {
				began := time.Now()
				<-ctx.Done()
				took = append(took, time.Since(began))
				return nil, context.Cause(ctx)
			}}
			l.poll(t, interval, 10*time.Minute)
			if len(took) < 2 {
				t.Fatalf("ended %d times", len(took))
			}
			for _, d := range took[:len(took)-1] { // the last was stopped
				if d != want {
					t.Errorf("interval %s: a lookup that hangs ends after %s, want %s", interval, d, want)
				}
			}
		})
	}
}

// TestRule02_OneAnswerOfNobodyAndThenNone cuts nobody: a source that hangs then
// has failed before the grace is over.
func TestRule02_OneAnswerOfNobodyAndThenNone(t *testing.T) {
	tests := []struct {
		name    string
		grace   time.Duration
		changed bool // the strategy that is told of nobody is another one
	}{
		{"by default", defaultRemoveGrace, false},
		{"a short grace", 100 * time.Millisecond, false},
		{"a long grace", time.Hour, false},
		{"of a new strategy", defaultRemoveGrace, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := 0
				var answers [][]Node
				web := Topology{Name: "web", Strategy: Poll(5*time.Minute, func(ctx context.Context) ([]Node, error) {
					if said++; said <= len(answers) {
						return answers[said-1], nil
					}
					<-ctx.Done()
					return nil, context.Cause(ctx)
				})}
				w := newWorld(t, "a:1")
				if tt.changed {
					w.start([]Topology{{Name: "web", Strategy: hosts{"a:1"}}}, WithRemoveGrace(tt.grace))
					synctest.Wait()
					answers = [][]Node{nil}
					w.apply(web)
				} else {
					answers = [][]Node{nodes("a:1"), nil}
					w.start([]Topology{web}, WithRemoveGrace(tt.grace))
				}
				time.Sleep(3 * time.Hour)
				w.wantLinked("after one answer of nobody", "a:1")
				if said < len(answers)+10 {
					t.Errorf("asked %d times in three hours", said)
				}
			})
		})
	}
}

// TestASlowSourceIsNotGivenUp: one that needs longer than an answer of nobody may
// be waited for is still heard.
func TestASlowSourceIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{}
		l.answer = func(ctx context.Context) ([]Node, error) {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if len(l.at) == 2 {
				return nil, nil
			}
			return nodes("a:1", "b:1"), nil
		}
		w, at := l.poll(t, time.Minute, 10*time.Minute)
		w.wantLinked("though it is slow", "a:1")
		if len(at) < 7 || at[2].Sub(at[1]) > 26*time.Second {
			t.Errorf("asked at %v, want the third question soon after the second", at)
		}
	})
}

// TestRule02_ASlowSourceIsBelieved, after it has said twice more that there is nobody:
// its questions aren't cut short, which would be a failure, again and again.
func TestRule02_ASlowSourceIsBelieved(t *testing.T) {
	tests := []struct {
		name  string
		takes time.Duration
		then  []Node        // what it says after a:1
		after time.Duration // of the first answer without a:1, until a:1 is given up
	}{
		{"at once", 0, nil, defaultRemoveGrace},
		{"7 seconds", 7 * time.Second, nil, defaultRemoveGrace},
		{"7 seconds, of one that isn't up yet", 7 * time.Second, nodes("c:1"), defaultRemoveGrace},
		{"as long as two pauses and two questions leave", 9 * time.Second, nil, defaultRemoveGrace},
		{"longer", 20 * time.Second, nil, 52 * time.Second},
		{"longer than the grace", 45 * time.Second, nil, 102 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1")
				asked := 0
				w.start([]Topology{{Name: "test", Strategy: Poll(time.Minute, func(ctx context.Context) ([]Node, error) {
					asked++
					answer := tt.then
					if asked == 1 {
						answer = nodes("a:1")
					}
					select {
					case <-time.After(tt.takes):
						return answer, nil
					case <-ctx.Done():
						return nil, context.Cause(ctx)
					}
				})}})
				for w.removeAt("a:1").IsZero() {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(tt.after - time.Second)
				w.wantLinked("before it is confirmed", "a:1")
				time.Sleep(time.Second)
				w.wantLinked("after that")
				time.Sleep(time.Hour)
				if st := w.sup.Status().Topologies[0]; st.LastError != nil {
					t.Errorf("it failed: %v", st.LastError)
				}
			})
		})
	}
}

// removeAt is when a node of the first topology is given up.
func (w *world) removeAt(n Node) time.Time {
	for _, s := range w.sup.Status().Topologies[0].Nodes {
		if s.Node == n {
			return s.RemoveAt
		}
	}
	return time.Time{}
}

func TestPollPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := &lookups{answer: func(context.Context) ([]Node, error) {
			if calls++; calls == 2 {
				panic("told to")
			}
			return nodes("a:1"), nil
		}}
		w, at := l.poll(t, time.Second, time.Minute)
		if len(at) < 50 {
			t.Errorf("asked %d times", len(at))
		}
		w.wantLinked("all the time", "a:1")
	})
}

func TestPollEndsNothingWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{answer: func(ctx context.Context) ([]Node, error) {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			return nodes("a:1"), errors.New("half an answer")
		}}
		w, _ := l.poll(t, time.Second, time.Minute)
		w.wantLinked("an error makes what comes with it no answer")
		if st := w.sup.Status().Topologies[0]; st.State != StateStopped {
			t.Errorf("%+v", st)
		}
	})
}
