package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

// TestFromClientset has each source ask for its own kind, in its namespace; the
// types are found out of an interface, and of a clientset itself.
func TestFromClientset(t *testing.T) {
	fake := fake.NewClientset(
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "slice"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "pod"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "stranger"}},
		&corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "endpoints"}}, //nolint:staticcheck // for old clusters
	)
	clients := map[string]*Client{"a clientset": FromClientset(fake), "an interface": FromClientset(clientset.Interface(fake))}
	for name, client := range clients {
		for source, want := range map[Source]string{EndpointSlices: "slice", Pods: "pod", Endpoints: "endpoints"} {
			list, err := client.open(source, "app").list(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			items, err := meta.ExtractList(list)
			if err != nil || len(items) != 1 {
				t.Fatalf("%s lists %v as %v (%v)", name, source, items, err)
			}
			if item, err := meta.Accessor(items[0]); err != nil || item.GetName() != want {
				t.Errorf("%s lists %v as %v (%v), want %s", name, source, items, err, want)
			}
		}
	}
}
