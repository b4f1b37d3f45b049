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
