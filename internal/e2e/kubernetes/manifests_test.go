//go:build linux

package kubernetes_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

const (
	// manifests are those of the example.
	manifests = example + "/manifests"
	replicas  = 3 // of the Deployment and of the StatefulSet in them
)

// testManifests has the real API server accept every manifest of the example, without
// a field that it doesn't know, the controllers make pods of them, and the example's
// program, in each of these pods, greet those in all others.
func testManifests(s *space) {
	// As the example's README has kubectl create it.
	_, err := s.api.CoreV1().Secrets(s.name).Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "web-secret"}, StringData: map[string]string{"secret": secret},
	}, metav1.CreateOptions{})
	s.must(err)
	paths, err := filepath.Glob(filepath.Join(manifests, "*.yaml"))
	s.must(err)
	kinds := map[string]int{}
	for _, path := range paths {
		for _, o := range s.objects(path) {
			s.apply(path, o)
			kinds[o.GetKind()]++
		}
	}
	for _, kind := range []string{"Deployment", "StatefulSet", "Service", "ServiceAccount", "Role", "RoleBinding"} {
		if kinds[kind] == 0 {
			s.Errorf("%s has no %s", manifests, kind)
		}
	}
	roles, err := s.api.RbacV1().Roles(s.name).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	if least := rule(slicesResource, "list", "watch"); len(roles.Items) != 1 || !reflect.DeepEqual(roles.Items[0].Rules, least) {
		s.Errorf("the roles are %+v, want one with the least rules, %+v", roles.Items, least)
	}
	var pods []string
	for i, pod := range append(s.awaitPods("ReplicaSet", replicas), s.awaitPods("StatefulSet", replicas)...) {
		s.place(pod.Name, s.free[i])
		pods = append(pods, pod.Name)
	}
	program := s.build()
	var all []*running
	for i, name := range pods {
		all = append(all, s.runPod(name, program, s.free[i]))
	}
	for _, r := range all {
		r.hears(pods...)
	}
}

// place is what a scheduler and kubelet do: the pod runs on a host.
func (s *space) place(pod string, h *hosts.Host) {
	s.Helper()
	s.must(s.api.CoreV1().Pods(s.name).Bind(s.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod}, Target: corev1.ObjectReference{Kind: "Node", Name: machine},
	}, metav1.CreateOptions{}))
	s.occupy(pod, h)
}

// objects reads a file of the kind that kubectl applies.
func (s *space) objects(path string) (all []*unstructured.Unstructured) {
	s.Helper()
	f, err := os.Open(path)
	s.must(err)
	defer f.Close()
	for d := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		o := &unstructured.Unstructured{}
		err := d.Decode(o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			s.Fatalf("%s: %v", path, err)
		}
		if len(o.Object) > 0 { // and no comment alone
			all = append(all, o)
		}
	}
}

// apply is what kubectl apply --server-side --validate=strict does.
func (s *space) apply(path string, o *unstructured.Unstructured) {
	s.Helper()
	groups, err := restmapper.GetAPIGroupResources(s.api.Discovery())
	s.must(err)
	kind := o.GroupVersionKind()
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(kind.GroupKind(), kind.Version)
	s.must(err)
	client, err := dynamic.NewForConfig(s.plane.Config())
	s.must(err)
	data, err := o.MarshalJSON()
	s.must(err)
	force := true
	_, err = client.Resource(mapping.Resource).Namespace(s.name).Patch(s.Context(), o.GetName(), "application/apply-patch+yaml", data,
		metav1.PatchOptions{FieldManager: "e2e", Force: &force, FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		s.Fatalf("%s: %s %s: %v", path, o.GetKind(), o.GetName(), err)
	}
}

// awaitPods waits until there are n pods that are owned by such a kind, and returns
// them.
func (s *space) awaitPods(owner string, n int) (pods []corev1.Pod) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), soon)
	defer cancel()
	w, err := s.api.CoreV1().Pods(s.name).Watch(ctx, metav1.ListOptions{})
	s.must(err)
	defer w.Stop()
	for e := range w.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if ok && e.Type == "ADDED" && pod.OwnerReferences[0].Kind == owner {
			if pods = append(pods, *pod); len(pods) == n {
				return pods
			}
		}
	}
	s.Fatalf("after %s there are %d pods of a %s, want %d", soon, len(pods), owner, n)
	return nil
}
