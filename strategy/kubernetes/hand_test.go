package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/libcluster-go/cluster"
)

// A server is a hand-driven API server: its objects, for one source.
type server struct {
	mu      sync.Mutex
	pages   func(opts metav1.ListOptions) (runtime.Object, error)
	refuse  error                    // a watch
	began   func(*watch.FakeWatcher) // what a watch does at once
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

func (s served) where() string { return "https://10.96.0.1" }

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
	if s.began != nil {
		s.began(s.current[s.namespace])
	}
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

// inBubble runs a strategy of a pod in a bubble while f looks on.
func inBubble(t *testing.T, s Strategy, f func(r *record)) {
	t.Helper()
	inBubbleOf(t, inPod(), s, f)
}

// inBubbleOf is inBubble in another environment.
func inBubbleOf(t *testing.T, env environment, s Strategy, f func(r *record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &record{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, cluster.NewRoster("", nil, r.add), env, usual()) }()
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
