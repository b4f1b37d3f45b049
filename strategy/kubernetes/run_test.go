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

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

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

// TestANamespaceThatIsMute has the others count after a second, long before that one
// is given up, and be no whole answer.
func TestANamespaceThatIsMute(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	a.create(slice("app", "s", of("a", "10.0.0.1")))
	good := FromClientset(a)
	client := &Client{open: func(source Source, namespace string) objects {
		if namespace == "db" {
			return mute{"https://10.96.0.1"}
		}
		return good.open(source, namespace)
	}}
	s := Strategy{Service: "web-nodes", Namespaces: []string{"app", "db"}, Client: client}
	inBubble(t, s, func(r *record) {
		time.Sleep(999 * time.Millisecond)
		r.expect("before a second")
		time.Sleep(time.Millisecond)
		r.expect("after a second", "Add [10.0.0.1:4370]")
		a.update(slice("app", "s", of("a", "10.0.0.1"), of("b", "10.0.0.2")))
		time.Sleep(20 * time.Millisecond)
		r.expect("when one comes", "Add [10.0.0.2:4370]")
		time.Sleep(14 * time.Second)
		r.expect("when it is given up", `Fail kubernetes: list endpointslices in namespace "db": https://10.96.0.1 has not answered within 15s`)
	})
}

// mute are objects of a server that says nothing.
type mute struct{ address string }

func (mute) list(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mute) watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (m mute) where() string { return m.address }

// refusing are objects that can't be had.
type refusing struct{ err error }

func (r refusing) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return nil, r.err
}

func (r refusing) watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return nil, r.err
}

func (r refusing) where() string { return "https://10.96.0.1" }

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
			kind := tt.strategy.Source
			s := &server{pages: func(metav1.ListOptions) (runtime.Object, error) { return listOfNobody(kind), nil }}
			tt.strategy.Client = s.client()
			inBubble(t, tt.strategy, func(r *record) {
				r.expect("of nobody", "Replace []")
				lists, watches := s.asked()
				if l := lists[0]; l.LabelSelector != tt.labels || l.FieldSelector != tt.fields || l.ResourceVersion != tt.oldest || l.Limit != pageSize {
					r.t.Errorf("it lists with %+v", l)
				}
				if w := watches[0]; w.LabelSelector != tt.labels || w.FieldSelector != tt.fields || w.ResourceVersion != "7" || *w.TimeoutSeconds != 1200 {
					r.t.Errorf("it watches with %+v", w)
				}
			})
		})
	}
}

// listOfNobody is a list of a source, with what there is of a service without pods.
func listOfNobody(s Source) runtime.Object {
	at := metav1.ListMeta{ResourceVersion: "7"}
	switch s {
	case Pods:
		return &corev1.PodList{ListMeta: at}
	case Endpoints:
		return &corev1.EndpointsList{ListMeta: at, Items: []corev1.Endpoints{*endpointsOf()}} //nolint:staticcheck // for old clusters
	default:
		return sliceList("7", "", slice("app", "s"))
	}
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
