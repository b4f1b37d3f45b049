//go:build linux

package kubernetes_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/controlplane"
)

// BenchmarkLarge is how long it takes from the start of Run until the roster is told
// of 5,000 endpoints, in 50 slices of a real API server, and how much memory they
// retain while they are watched.
func BenchmarkLarge(b *testing.B) {
	const slices, each = 50, 100
	plane := controlplane.Start(b, hosts.New(b, 1).Hosts[0])
	namespace := fill(b, plane.Client(), slices, each)
	clientset, err := client.NewForConfig(plane.Config())
	if err != nil {
		b.Fatal(err)
	}
	s := kubernetes.Strategy{
		Service: service, Namespaces: []string{namespace}, Port: port, Client: kubernetes.FromClientset(clientset),
	}
	before := retained()
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		told := make(chan cluster.Change, 1)
		r := cluster.NewRoster("", nil, func(c cluster.Change) {
			select {
			case told <- c:
			default: // the first is enough
			}
		})
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := s.Run(ctx, r); err != nil {
				b.Error(err)
			}
		})
		c := <-told
		b.StopTimer()
		if len(c.Nodes) != slices*each {
			b.Fatalf("it tells %s of %d nodes and %v", c.Kind, len(c.Nodes), c.Err)
		}
		b.ReportMetric(float64(retained()-before), "retained-B")
		cancel()
		wait.Wait()
		b.StartTimer()
	}
}

// retained is how much memory is in use.
func retained() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill makes slices of that many endpoints each, and returns their namespace.
func fill(b *testing.B, api client.Interface, slices, each int) (namespace string) {
	b.Helper()
	namespace = "large"
	_, err := api.CoreV1().Namespaces().Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	ready, name, number := true, portName, int32(port)
	for i := range slices {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", service, i), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
		}
		for j := range each {
			pod, machine := fmt.Sprintf("%s-%d-%d", service, i, j), fmt.Sprintf("machine-%d", j)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.200.%d.%d", i, j+1)}, NodeName: &machine,
				Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: pod, UID: types.UID(pod)},
			})
		}
		if _, err := api.DiscoveryV1().EndpointSlices(namespace).Create(b.Context(), slice, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	return namespace
}
