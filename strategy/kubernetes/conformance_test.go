package kubernetes

import (
	"flag"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// The tests wait rather than work, so that more of them go side by side than there
// are processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// An apiserver is a fake clientset that can be made to fail.
type apiserver struct {
	*fake.Clientset

	t testing.TB

	mu       sync.Mutex
	listErr  error
	watchErr error
	watches  []*watch.RaceFreeFakeWatcher
}

func newAPIServer(tb testing.TB, objects ...runtime.Object) *apiserver {
	tb.Helper()
	a := &apiserver{Clientset: fake.NewClientset(objects...), t: tb}
	a.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.listErr != nil, nil, a.listErr
	})
	a.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.watchErr != nil {
			return true, nil, a.watchErr
		}
		w, err := a.Tracker().Watch(action.GetResource(), action.GetNamespace())
		if fake, ok := w.(*watch.RaceFreeFakeWatcher); ok {
			a.watches = append(a.watches, fake)
		}
		return true, w, err
	})
	return a
}

// fail has lists and watches fail, nil for not at all. Watches that go on end at
// once, with said as their last event, if that isn't nil.
func (a *apiserver) fail(list, watch error, said runtime.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listErr, a.watchErr = list, watch
	for _, w := range a.watches {
		if said != nil && !w.IsStopped() {
			w.Error(said)
		}
		w.Stop()
	}
	a.watches = nil
}

func (a *apiserver) mend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listErr, a.watchErr = nil, nil
}

// create and update put a slice in place.
func (a *apiserver) create(s *discoveryv1.EndpointSlice) {
	a.t.Helper()
	if err := a.Tracker().Create(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), s, s.Namespace); err != nil {
		a.t.Fatal(err)
	}
}

func (a *apiserver) update(s *discoveryv1.EndpointSlice) {
	a.t.Helper()
	if err := a.Tracker().Update(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), s, s.Namespace); err != nil {
		a.t.Fatal(err)
	}
}

// slice is one of a service named web-nodes.
func slice(namespace, name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web-nodes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   endpoints,
	}
}

func sliceOf(namespace, name string, nodes ...cluster.Node) *discoveryv1.EndpointSlice {
	s := slice(namespace, name)
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{n.Host()}})
	}
	return s
}

// of is the endpoint of a pod, which is also its UID.
func of(pod, address string, conditions ...func(*discoveryv1.EndpointConditions)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{address},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod, UID: types.UID(pod)},
	}
	for _, c := range conditions {
		c(&e.Conditions)
	}
	return e
}

// refusals are what an API server answers, or the network.
func refusals() map[string]error {
	slices := schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
	return map[string]error{
		"401":           apierrors.NewUnauthorized("Unauthorized"),
		"403":           apierrors.NewForbidden(slices, "", nil),
		"404":           apierrors.NewNotFound(slices, ""),
		"410":           apierrors.NewResourceExpired("too old resource version: 1 (2)"),
		"429":           apierrors.NewTooManyRequests("too many requests, please try again later", 1),
		"500":           apierrors.NewInternalError(os.ErrDeadlineExceeded),
		"503":           apierrors.NewServiceUnavailable("etcd has no leader"),
		"504":           apierrors.NewTimeoutError("the server was unable to return a response in time", 0),
		"refused":       &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"unknown host":  &net.DNSError{Err: "no such host", Name: "kubernetes.default.svc", IsNotFound: true},
		"a cut of both": &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
	}
}

// TestConformance is on the fake clientset: all that answers can be.
func TestConformance(t *testing.T) {
	t.Parallel()
	strategytest.Test(t, strategytest.Harness{
		New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
			tb.Helper()
			a := newAPIServer(tb)
			a.create(sliceOf("app", "web-nodes-1", nodes...))
			faults := map[string]strategytest.Fault{}
			for name, err := range refusals() {
				faults[name] = strategytest.Fault{Break: func() { a.fail(err, err, nil) }, Mend: a.mend}
				faults[name+" to a watch"] = strategytest.Fault{Break: func() { a.fail(nil, err, nil) }, Mend: a.mend}
				if status, ok := err.(apierrors.APIStatus); ok {
					said := status.Status()
					faults[name+" in a watch"] = strategytest.Fault{Break: func() { a.fail(err, err, &said) }, Mend: a.mend}
				}
			}
			return strategytest.Source{
				Strategy: Strategy{Service: "web-nodes", Namespaces: []string{"app"}, Client: FromClientset(a)},
				Set:      func(nodes ...cluster.Node) { a.update(sliceOf("app", "web-nodes-1", nodes...)) },
				Faults:   faults,
			}
		},
		Bubble: true,
		Within: 2 * time.Minute,
		Quiet:  time.Minute,
	})
}
