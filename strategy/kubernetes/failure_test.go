package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/libcluster-go/cluster"
)

// TestExpired has the version of a watch be older than what the server knows: a
// failure, and a list that tells what has really gone.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1"), of("b", "10.0.0.2")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370 10.0.0.2:4370]")
		time.Sleep(time.Minute)
		s.says(slice("app", "s", of("b", "10.0.0.2"), of("c", "10.0.0.3")))
		expired := apierrors.NewResourceExpired("too old resource version: 7 (900)").Status()
		s.events().Error(&expired)
		r.expect("at the event", `Fail kubernetes: watch endpointslices in namespace "app": too old resource version`)
		time.Sleep(150 * time.Millisecond)
		r.expect("at the list", "Replace [10.0.0.2:4370 10.0.0.3:4370]")
	})
}

// TestFailuresBackOff has a server that is broken in any way be asked at most every
// 30 seconds in the end, and at least every 30, so that it is noticed when it is
// back.
func TestFailuresBackOff(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, breaks := range map[string]func(s *server){
		"no list":  func(s *server) { s.pages = func(metav1.ListOptions) (runtime.Object, error) { return nil, down } },
		"no watch": func(s *server) { s.refuse = down },
		"not what was asked for": func(s *server) {
			s.pages = func(metav1.ListOptions) (runtime.Object, error) { return &metav1.Status{}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			s.says(slice("app", "s"))
			breaks(s)
			inBubble(t, slicesOf(s), func(r *record) {
				time.Sleep(time.Hour)
				told := r.take()
				lists, _ := s.asked()
				if len(lists) < 120 || len(lists) > 260 {
					r.t.Errorf("it is asked %d times in an hour", len(lists))
				}
				for _, line := range told {
					if !strings.HasPrefix(line, "Fail ") {
						r.t.Fatalf("it tells %s", line)
					}
				}
				s.mu.Lock()
				s.refuse = nil
				s.mu.Unlock()
				s.says(slice("app", "s", of("a", "10.0.0.1")))
				time.Sleep(30 * time.Second)
				r.expect("when it is back", "Replace [10.0.0.1:4370]")
			})
		})
	}
}

// TestAWatchThatEndsAtOnce has a watch that never goes on, as behind a proxy that
// ends it, be no hot loop.
func TestAWatchThatEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		until := time.Now().Add(time.Hour)
		for time.Now().Before(until) {
			synctest.Wait()
			if w := s.events(); w != nil && !w.IsStopped() {
				w.Stop()
			}
			time.Sleep(10 * time.Millisecond)
		}
		if lists, watches := s.asked(); len(lists) > 260 || len(watches) > 260 {
			r.t.Errorf("there are %d lists and %d watches in an hour", len(lists), len(watches))
		}
		if told := strings.Join(r.take(), "\n"); !strings.Contains(told, "the watch has ended at once") {
			r.t.Errorf("it tells %s", told)
		}
	})
}

// TestAWatchThatIsAlwaysShort has a watch that ends right after whatever it tells, be
// it a bookmark, be no hot loop either.
func TestAWatchThatIsAlwaysShort(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind    watch.EventType
		perList int // how many watches there are
	}{
		"a bookmark": {watch.Bookmark, 1}, // which tells nothing
		"a change":   {watch.Modified, maxShort},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			s.says(slice("app", "s", of("a", "10.0.0.1")))
			s.began = func(w *watch.FakeWatcher) {
				w.Action(tt.kind, slice("app", "s", of("a", "10.0.0.1")))
				w.Stop()
			}
			inBubble(t, slicesOf(s), func(r *record) {
				time.Sleep(time.Hour)
				if lists, watches := s.asked(); len(lists) < 120 || len(lists) > 260 || len(watches) > tt.perList*len(lists) || len(watches) <= tt.perList*(len(lists)-2) {
					r.t.Errorf("there are %d lists and %d watches in an hour", len(lists), len(watches))
				}
				if told := strings.Join(r.take(), "\n"); !strings.Contains(told, "the watch has ended at once") {
					r.t.Errorf("it tells %s", told)
				}
			})
		})
	}
}

// TestAFewShortWatchesAreNone has a server that ends a few watches, as when it
// restarts, be no failure, also if it does so again later.
func TestAFewShortWatchesAreNone(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370]")
		for range 5 {
			for range maxShort - 1 {
				s.events().Modify(slice("app", "s", of("a", "10.0.0.1")))
				synctest.Wait()
				s.events().Stop()
				time.Sleep(retryMin)
				synctest.Wait()
			}
			time.Sleep(shortest)
			s.events().Stop()
			synctest.Wait()
		}
		r.expect("after all")
		if lists, watches := s.asked(); len(lists) != 1 || len(watches) != 16 {
			r.t.Errorf("there are %d lists and %d watches", len(lists), len(watches))
		}
	})
}

// TestAWatchThatWasSteady has its end be the first of a new series of failures:
// everything is asked anew at once, and not 30 seconds later.
func TestAWatchThatWasSteady(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370]")
		for range 20 {
			time.Sleep(steady)
			s.events().Error(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired})
			time.Sleep(retryMin)
			r.expect("in no time", "Fail ", "Replace [10.0.0.1:4370]")
		}
	})
}

// TestNothingIsToldTooEarly has a namespace whose watch doesn't begin be no whole
// answer, though it has been listed, and what was listed count all the same.
func TestNothingIsToldTooEarly(t *testing.T) {
	t.Parallel()
	s := &server{refuse: refusals()["403"]}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Add [10.0.0.1:4370]", `Fail kubernetes: watch endpointslices in namespace "app": `)
	})
}

// TestAPanicIsRuns has a client that panics stop Run, which the supervisor
// restarts, instead of the program.
func TestAPanicIsRuns(t *testing.T) {
	t.Parallel()
	s := &server{pages: func(metav1.ListOptions) (runtime.Object, error) { panic("out of order") }}
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "out of order") {
			t.Errorf("Run panics with %v", p)
		}
	}()
	err := slicesOf(s).run(t.Context(), cluster.NewRoster("", nil, func(cluster.Change) {}), inPod(), usual())
	t.Errorf("Run returns %v", err)
}

// TestPause has how long it waits after failures.
func TestPause(t *testing.T) {
	plain := errors.New("down")
	for name, tt := range map[string]struct {
		failures int
		err      error
		random   float64
		want     time.Duration
	}{
		"the first, soonest":     {1, plain, 0, 50 * time.Millisecond},
		"the first, latest":      {1, plain, 1, 100 * time.Millisecond},
		"the second":             {2, plain, 1, 200 * time.Millisecond},
		"the ninth":              {9, plain, 1, 25600 * time.Millisecond},
		"the tenth":              {10, plain, 1, 30 * time.Second},
		"the thousandth":         {1000, plain, 0, 15 * time.Second},
		"the server says when":   {1, &RequestError{Err: apierrors.NewTooManyRequests("busy", 7)}, 0, 7 * time.Second},
		"the server exaggerates": {1, &RequestError{Err: apierrors.NewTooManyRequests("busy", 3600)}, 0, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pause(tt.failures, tt.err, tt.random); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
		})
	}
}

// TestAdvice has the messages say what to do: the rule that is missing to the word.
func TestAdvice(t *testing.T) {
	errs := refusals()
	for name, tt := range map[string]struct {
		err  RequestError
		says string
	}{
		"slices":        {RequestError{"list", EndpointSlices, "app", errs["403"], false}, `Role in namespace "app" lacks the rule {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}`},
		"pods":          {RequestError{"list", Pods, "db", errs["403"], false}, `Role in namespace "db" lacks the rule {apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}`},
		"endpoints":     {RequestError{"list", Endpoints, "app", errs["403"], false}, `lacks the rule {apiGroups: [""], resources: ["endpoints"], verbs: ["list", "watch"]}`},
		"only a watch":  {RequestError{"watch", Pods, "app", errs["403"], false}, `lacks the rule {apiGroups: [""], resources: ["pods"], verbs: ["watch"]}`},
		"a token":       {RequestError{"list", Pods, "app", errs["401"], false}, `kubernetes: list pods in namespace "app": Unauthorized; the API server doesn't accept the token`},
		"a client's":    {RequestError{"list", Pods, "app", errs["401"], true}, "doesn't accept the token or certificate of Client"},
		"an old server": {RequestError{"list", EndpointSlices, "app", errs["404"], false}, "set Source to Endpoints"},
		"another":       {RequestError{"watch", Pods, "app", errs["503"], false}, `kubernetes: watch pods in namespace "app": etcd has no leader`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.err.Error(); !strings.Contains(got, tt.says) {
				t.Errorf("it says %q, want %q in that", got, tt.says)
			}
			if !errors.Is(&tt.err, tt.err.Err) {
				t.Error("what it says isn't what it is")
			}
		})
	}
}
