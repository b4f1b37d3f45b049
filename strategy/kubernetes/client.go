package kubernetes

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// A Client asks the API server. It is made by [FromClientset]; its zero value
// isn't one.
type Client struct {
	// open returns the objects of a source in a namespace.
	open func(source Source, namespace string) objects
}

// objects are those of one kind and namespace, as client-go's typed clients give
// access to them.
type objects interface {
	list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error)
	watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	// where is the address of the API server; empty if only the user's Client
	// knows it.
	where() string
}

// FromClientset makes a Client of a kubernetes.Interface of client-go:
//
//	kubernetes.Strategy{Service: "web-nodes", Client: kubernetes.FromClientset(clientset)}
//
// The types of its clients are parameters, which the compiler finds out by itself,
// so that this package need not import those of all kinds of objects that there
// are: they would add 42 MB to every program.
func FromClientset[
	S interface {
		CoreV1() C
		DiscoveryV1() D
	},
	C interface {
		Pods(namespace string) P
		Endpoints(namespace string) E
	},
	D interface{ EndpointSlices(namespace string) L },
	P resource[*corev1.PodList],
	E resource[*corev1.EndpointsList],
	L resource[*discoveryv1.EndpointSliceList],
](clientset S) *Client {
	return &Client{open: func(source Source, namespace string) objects {
		switch source {
		case EndpointSlices:
			return typed[*discoveryv1.EndpointSliceList]{clientset.DiscoveryV1().EndpointSlices(namespace)}
		case Pods:
			return typed[*corev1.PodList]{clientset.CoreV1().Pods(namespace)}
		case Endpoints:
			return typed[*corev1.EndpointsList]{clientset.CoreV1().Endpoints(namespace)}
		default:
			panic(fmt.Sprintf("kubernetes: no source %d", source)) // Validate refuses it
		}
	}}
}

// A resource is a typed client of client-go.
type resource[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// typed makes objects of a typed client.
type typed[L runtime.Object] struct{ client resource[L] }

func (t typed[L]) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	return t.client.List(ctx, opts)
}

func (t typed[L]) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return t.client.Watch(ctx, opts)
}

func (t typed[L]) where() string { return "" }

// requests makes objects of a client of this package's own.
type requests struct {
	client    rest.Interface
	host      string
	source    Source
	namespace string
}

func (r requests) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := r.get(opts).Do(ctx).Get()
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (r requests) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	return r.get(opts).Watch(ctx)
}

func (r requests) where() string { return r.host }

// get is a request that is made once: client-go's own retries would hide for long
// that a server is overloaded.
func (r requests) get(opts metav1.ListOptions) *rest.Request {
	return r.client.Get().MaxRetries(0).Namespace(r.namespace).Resource(r.source.resource()).VersionedParams(&opts, metav1.ParameterCodec)
}
