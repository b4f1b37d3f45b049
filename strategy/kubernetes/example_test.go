package kubernetes_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	"github.com/libcluster-go/cluster/transport/memory"
)

// A pod of three, of which one isn't ready. The fake clientset stands for the API
// server, for which Client and Namespaces need not be set in a pod, and the memory
// transport for the mesh, which is the default.
func Example() {
	ctx := context.Background()
	endpoint := func(pod, address string, ready bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Addresses:  []string{address},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod},
		}
	}
	clientset := fake.NewClientset(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "prod", Name: "web-nodes-x2k5p", Labels: map[string]string{discoveryv1.LabelServiceName: "web-nodes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			endpoint("web-0", "10.244.1.5", true), endpoint("web-1", "10.244.2.7", true), endpoint("web-2", "10.244.3.1", false),
		},
	})
	network := memory.New()
	nodes := map[cluster.Node]cluster.Transport{}
	for _, n := range []cluster.Node{"10.244.1.5:4370", "10.244.2.7:4370", "10.244.3.1:4370"} {
		var err error
		if nodes[n], err = network.Join(n); err != nil {
			log.Panic(err)
		}
	}

	supervisor, err := cluster.Start(ctx, []cluster.Topology{{
		Name:      "web",
		Strategy:  kubernetes.Strategy{Service: "web-nodes", Namespaces: []string{"prod"}, Client: kubernetes.FromClientset(clientset)},
		Transport: nodes["10.244.1.5:4370"],
	}})
	if err != nil {
		log.Panic(err)
	}
	if err := supervisor.WaitNodes(ctx, 1); err != nil {
		log.Panic(err)
	}
	fmt.Println(supervisor.Nodes())
	supervisor.Stop()
	if err := supervisor.Wait(); err != nil {
		log.Panic(err)
	}
	// Output: [10.244.2.7:4370]
}
