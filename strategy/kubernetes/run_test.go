package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/libcluster-go/cluster"
)

// A server is a hand-driven API server: its objects, for one source.
type server struct {
	mu      sync.Mutex
	pages   func(opts metav1.ListOptions) (runtime.Object, error)
	refuse  error // a watch
	lists   []metav1.ListOptions
	begun   []metav1.ListOptions          // watches
	current map[string]*watch.FakeWatcher // by namespace
}

func (s *server) client() *Client {
	return &Client{open: func(_ Source, namespace string) objects { return served{s, namespace} }}
}

type served struct {
	*server

	namespace string
}

func (s served) list(_ context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = append(s.lists, opts)
	return s.pages(opts)
}

func (s served) watch(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = append(s.begun, opts)
	if s.refuse != nil {
		return nil, s.refuse
	}
	if s.current == nil {
		s.current = map[string]*watch.FakeWatcher{}
	}
	s.current[s.namespace] = watch.NewFakeWithChanSize(10, false)
	return s.current[s.namespace], nil
}

// says has lists answer with slices from now on.
func (s *server) says(slices ...*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages = func(metav1.ListOptions) (runtime.Object, error) { return sliceList("7", "", slices...), nil }
}

func sliceList(version, next string, slices ...*discoveryv1.EndpointSlice) *discoveryv1.EndpointSliceList {
	list := &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: version, Continue: next}}
	for _, s := range slices {
		list.Items = append(list.Items, *s)
	}
	return list
}

func (s *server) asked() (lists, watches []metav1.ListOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lists), slices.Clone(s.begun)
}

func (s *server) events() *watch.FakeWatcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current["app"]
}

// A record is what a strategy tells, in order, as text, and when.
type record struct {
	t *testing.T // of the bubble

	mu    sync.Mutex
	lines []string
	last  time.Time
}

func (r *record) add(c cluster.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("%s %s", c.Kind, c.Nodes)
	if len(c.Keep) > 0 {
		line += fmt.Sprintf(" keep %s", c.Keep)
	}
	if c.Err != nil {
		line = "Fail " + c.Err.Error()
	}
	r.lines, r.last = append(r.lines, line), time.Now()
}

// take returns what was told since it was last called.
func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// expect checks what was told since the last check: each line is the beginning of
// one. It is called in a bubble.
func (r *record) expect(when string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	got := r.take()
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		r.t.Fatalf("%s, it tells\n  %s\nwant\n  %s", when, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// inBubble runs a strategy in a bubble while f looks on.
func inBubble(t *testing.T, s Strategy, f func(r *record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &record{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, cluster.NewRoster("", nil, r.add), inPod(), answerTimeout) }()
		f(r)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returns %v", err)
		}
	})
}

func slicesOf(s *server) Strategy {
	return Strategy{Service: "web-nodes", Client: s.client()}
}

// TestChangesAreToldAtOnce has the first change be told in no time, and those right
// after it within 20 ms, together.
func TestChangesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370]")
		time.Sleep(time.Minute)
		began := time.Now()
		s.events().Modify(slice("app", "s", of("a", "10.0.0.1"), of("b", "10.0.0.2")))
		r.expect("when one comes", "Replace [10.0.0.1:4370 10.0.0.2:4370]")
		if late := r.last.Sub(began); late != 0 {
			r.t.Errorf("it is told after %s", late)
		}
		s.events().Modify(slice("app", "s", of("a", "10.0.0.1"), of("b", "10.0.0.2"), of("c", "10.0.0.3", isReady(false))))
		s.events().Add(slice("app", "s2", of("d", "10.0.0.4")))
		r.expect("within the next 20 ms")
		time.Sleep(20 * time.Millisecond)
		r.expect("after 20 ms", "Replace [10.0.0.1:4370 10.0.0.2:4370 10.0.0.4:4370] keep [10.0.0.3:4370]")
		time.Sleep(time.Minute)
		s.events().Modify(slice("app", "s2", of("d", "10.0.0.4", isServing(true))))
		r.expect("when nothing changes that counts")
		s.events().Delete(slice("app", "s2", of("d", "10.0.0.4")))
		r.expect("when a slice is deleted", "Replace [10.0.0.1:4370 10.0.0.2:4370] keep [10.0.0.3:4370]")
		time.Sleep(time.Minute)
		s.events().Modify(slice("app", "s", of("b", "10.0.0.2", isReady(false), isTerminating(true)), of("web-0", "10.0.0.9")))
		r.expect("when one terminates, and this pod comes", "Replace [] keep [10.0.0.2:4370]")
	})
}

// TestAWatchGoesOn has a watch that ends in good order be resumed from where it
// was, without a list and without a word.
func TestAWatchGoesOn(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370]")
		next := slice("app", "s", of("b", "10.0.0.2"))
		next.ResourceVersion = "8"
		s.events().Modify(next)
		time.Sleep(time.Minute)
		s.events().Stop()
		time.Sleep(time.Minute)
		bookmark := slice("app", "")
		bookmark.ResourceVersion = "9"
		s.events().Action(watch.Bookmark, bookmark)
		synctest.Wait()
		s.events().Stop()
		r.expect("after two ends", "Replace [10.0.0.2:4370]")
		lists, watches := s.asked()
		var from []string
		for _, w := range watches {
			from = append(from, w.ResourceVersion)
		}
		if len(lists) != 1 || !slices.Equal(from, []string{"7", "8", "9"}) || !watches[0].AllowWatchBookmarks {
			r.t.Errorf("there are %d lists, and watches from %q; want 1, and 7, 8, 9 with bookmarks", len(lists), from)
		}
	})
}

// TestAQuietWatchIsNoticed has a change that no event tells be told by the next
// list, for which nothing fails.
func TestAQuietWatchIsNoticed(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says(slice("app", "s", of("a", "10.0.0.1")))
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("at the start", "Replace [10.0.0.1:4370]")
		s.says(slice("app", "s", of("b", "10.0.0.2")))
		time.Sleep(8 * time.Minute)
		r.expect("8 minutes later")
		time.Sleep(3 * time.Minute)
		r.expect("11 minutes later", "Replace [10.0.0.2:4370]")
	})
}

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

// TestNamespaces has an answer be whole only if all namespaces have answered; of
// another, what is new counts.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.create(slice("app", "s", of("a", "10.0.0.1")))
	a.create(slice("db", "s", of("b", "10.0.0.2")))
	a.create(slice("other", "s", of("c", "10.0.0.3")))
	forbidden := refusals()["403"]
	refused := true
	var mu sync.Mutex
	good := FromClientset(a)
	client := &Client{open: func(source Source, namespace string) objects {
		mu.Lock()
		defer mu.Unlock()
		if namespace == "db" && refused {
			return refusing{forbidden}
		}
		return good.open(source, namespace)
	}}
	s := Strategy{Service: "web-nodes", Namespaces: []string{"app", "db"}, Client: client}
	inBubble(t, s, func(r *record) {
		const rule = `Fail kubernetes: list endpointslices in namespace "db": `
		time.Sleep(40 * time.Millisecond)
		synctest.Wait()
		told := r.take()
		if !slices.Contains(told, "Add [10.0.0.1:4370]") || strings.HasPrefix(told[0], "Replace") {
			r.t.Fatalf("at the start, it tells %q", told)
		}
		time.Sleep(time.Minute)
		r.take()
		a.update(slice("app", "s", of("d", "10.0.0.4")))
		r.expect("when the good one changes", "Add [10.0.0.4:4370]", rule)
		mu.Lock()
		refused = false
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		told = r.take()
		if last := told[len(told)-1]; last != "Replace [10.0.0.2:4370 10.0.0.4:4370]" {
			r.t.Errorf("when the other is back, it tells %q", last)
		}
	})
}

// refusing are objects that can't be had.
type refusing struct{ err error }

func (r refusing) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return nil, r.err
}

func (r refusing) watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return nil, r.err
}

// TestWhatIsAskedFor has the options of lists and watches.
func TestWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		strategy               Strategy
		labels, fields, oldest string
	}{
		"a service":           {Strategy{Service: "web-nodes"}, "kubernetes.io/service-name=web-nodes", "", ""},
		"labels":              {Strategy{Selector: "app=web"}, "app=web", "", ""},
		"both":                {Strategy{Selector: "app=web", Service: "web-nodes"}, "app=web,kubernetes.io/service-name=web-nodes", "", ""},
		"pods":                {Strategy{Source: Pods, Selector: "app=web", FieldSelector: "spec.nodeName=a"}, "app=web", "spec.nodeName=a", ""},
		"endpoints":           {Strategy{Source: Endpoints, Service: "web-nodes"}, "", "metadata.name=web-nodes", ""},
		"labels of endpoints": {Strategy{Source: Endpoints, Selector: "app=web"}, "app=web", "", ""},
		"cached":              {Strategy{Selector: "app=web", UseCachedResources: true}, "app=web", "", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			s.says()
			if kind := tt.strategy.Source; kind != EndpointSlices {
				s.pages = func(metav1.ListOptions) (runtime.Object, error) { return emptyList(kind), nil }
			}
			tt.strategy.Client = s.client()
			inBubble(t, tt.strategy, func(r *record) {
				r.expect("of nobody", "Replace []")
				lists, watches := s.asked()
				if l := lists[0]; l.LabelSelector != tt.labels || l.FieldSelector != tt.fields || l.ResourceVersion != tt.oldest || l.Limit != pageSize {
					r.t.Errorf("it lists with %+v", l)
				}
				if w := watches[0]; w.LabelSelector != tt.labels || w.FieldSelector != tt.fields || w.ResourceVersion != "7" {
					r.t.Errorf("it watches with %+v", w)
				}
			})
		})
	}
}

// emptyList is a list of a source that isn't EndpointSlices.
func emptyList(s Source) runtime.Object {
	at := metav1.ListMeta{ResourceVersion: "7"}
	if s == Pods {
		return &corev1.PodList{ListMeta: at}
	}
	return &corev1.EndpointsList{ListMeta: at}
}

// TestPages has a list of several pages be one answer, also if it takes so long
// that the server has forgotten its beginning.
func TestPages(t *testing.T) {
	t.Parallel()
	first, second := slice("app", "s1", of("a", "10.0.0.1")), slice("app", "s2", of("b", "10.0.0.2"))
	for name, forgets := range map[string]bool{"in time": false, "too late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{pages: func(opts metav1.ListOptions) (runtime.Object, error) {
				switch {
				case opts.Limit == 0:
					return sliceList("9", "", second), nil
				case opts.Continue == "":
					return sliceList("7", "more", first), nil
				case opts.Continue != "more" || opts.ResourceVersion != "":
					return nil, fmt.Errorf("asked with %+v", opts)
				case forgets:
					return nil, refusals()["410"]
				default:
					return sliceList("7", "", second), nil
				}
			}}
			strategy := slicesOf(s)
			strategy.UseCachedResources = true // whose version goes only with the first page
			inBubble(t, strategy, func(r *record) {
				if forgets {
					r.expect("at the start", "Replace [10.0.0.2:4370]")
				} else {
					r.expect("at the start", "Replace [10.0.0.1:4370 10.0.0.2:4370]")
				}
			})
		})
	}
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

// TestAPortThatIsMissing has the pods that have it count, and nobody be given up.
func TestAPortThatIsMissing(t *testing.T) {
	t.Parallel()
	s := &server{}
	good := slicePorts(slice("app", "s1", of("a", "10.0.0.1")), discoveryv1.EndpointPort{Name: new("cluster"), Port: new(int32(5000))})
	s.says(good, slice("app", "s2", of("b", "10.0.0.2")))
	strategy := slicesOf(s)
	strategy.PortName = "cluster"
	inBubble(t, strategy, func(r *record) {
		r.expect("at the start", "Add [10.0.0.1:5000]", `Fail kubernetes: namespace "app": pod b: it has no TCP port named "cluster"`)
		s.events().Delete(slice("app", "s2"))
		time.Sleep(20 * time.Millisecond)
		r.expect("without it", "Replace [10.0.0.1:5000]")
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
	err := slicesOf(s).run(t.Context(), cluster.NewRoster("", nil, func(cluster.Change) {}), inPod(), answerTimeout)
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
		"slices":        {RequestError{"list", EndpointSlices, "app", errs["403"]}, `Role in namespace "app" lacks the rule {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}`},
		"pods":          {RequestError{"list", Pods, "db", errs["403"]}, `Role in namespace "db" lacks the rule {apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}`},
		"endpoints":     {RequestError{"list", Endpoints, "app", errs["403"]}, `lacks the rule {apiGroups: [""], resources: ["endpoints"], verbs: ["list", "watch"]}`},
		"only a watch":  {RequestError{"watch", Pods, "app", errs["403"]}, `lacks the rule {apiGroups: [""], resources: ["pods"], verbs: ["watch"]}`},
		"a token":       {RequestError{"list", Pods, "app", errs["401"]}, `kubernetes: list pods in namespace "app": Unauthorized; the API server doesn't accept the token`},
		"an old server": {RequestError{"list", EndpointSlices, "app", errs["404"]}, "set Source to Endpoints"},
		"another":       {RequestError{"watch", Pods, "app", errs["503"]}, `kubernetes: watch pods in namespace "app": etcd has no leader`},
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
