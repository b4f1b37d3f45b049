//go:build linux

package kubernetes_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

const (
	account  = "node" // the service account of the pods
	service  = "web"  // the headless service of the pods
	portName = "cluster"

	adminName, adminPort = "admin", 9000 // another port of each
)

// A space is a test's own namespace of the API, with a service account and a
// headless service whose pods are those with the label app: web.
type space struct {
	*testing.T
	*rig
	name string
	api  kubernetes.Interface // of one who may do everything
}

func newSpace(t *testing.T, r *rig) *space {
	t.Helper()
	return newSpaceFor(t, r, t.Name())
}

// newSpaceFor is for tests that have several, each for something else.
func newSpaceFor(t *testing.T, r *rig, what string) *space {
	t.Helper()
	sum := sha256.Sum256([]byte(what))
	s := &space{T: t, rig: r, api: r.plane.Client(), name: fmt.Sprintf("test-%x", sum[:4])}
	ctx := t.Context()
	_, err := s.api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, metav1.CreateOptions{})
	s.must(err)
	s.addAccount(account)
	s.serve(service, corev1.ServiceSpec{})
	t.Cleanup(func() { // so that no other test's pods share the addresses, or are cut off
		s.net.Heal(s.net.Hosts...)
		none := int64(0)
		err := s.api.CoreV1().Pods(s.name).DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve makes a headless service of the pods, which is as spec says in all else.
func (s *space) serve(name string, spec corev1.ServiceSpec) {
	s.Helper()
	spec.ClusterIP, spec.Selector = corev1.ClusterIPNone, map[string]string{"app": service}
	spec.Ports = append(spec.Ports, corev1.ServicePort{Name: portName, Port: port, TargetPort: intstr.FromInt32(port)})
	_, err := s.api.CoreV1().Services(s.name).Create(s.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec,
	}, metav1.CreateOptions{})
	s.must(err)
}

func (s *space) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// rule is one that lets its subject do what the verbs say with a resource, such as
// "discovery.k8s.io/endpointslices", and no more.
func rule(resource string, verbs ...string) []rbacv1.PolicyRule {
	group, resource, _ := strings.Cut(resource, "/")
	return []rbacv1.PolicyRule{{Verbs: verbs, APIGroups: []string{group}, Resources: []string{resource}}}
}

// grant gives a service account these rules.
func (s *space) grant(account string, rules []rbacv1.PolicyRule) {
	s.Helper()
	ctx, meta := s.Context(), metav1.ObjectMeta{Name: account}
	_, err := s.api.RbacV1().Roles(s.name).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	s.must(err)
	_, err = s.api.RbacV1().RoleBindings(s.name).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: s.name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
	}, metav1.CreateOptions{})
	s.must(err)
}

// revoke takes the rules away again.
func (s *space) revoke(account string) {
	s.Helper()
	s.must(s.api.RbacV1().RoleBindings(s.name).Delete(s.Context(), account, metav1.DeleteOptions{}))
	s.must(s.api.RbacV1().Roles(s.name).Delete(s.Context(), account, metav1.DeleteOptions{}))
}

// addAccount makes a service account.
func (s *space) addAccount(name string) {
	s.Helper()
	_, err := s.api.CoreV1().ServiceAccounts(s.name).Create(s.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	s.must(err)
}

// token asks for one of a service account. It is good while the pod exists, if one
// is given.
func (s *space) token(account string, bound *corev1.Pod) string {
	s.Helper()
	request := &authv1.TokenRequest{}
	if bound != nil {
		request.Spec.BoundObjectRef = &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: bound.Name, UID: bound.UID}
	}
	got, err := s.api.CoreV1().ServiceAccounts(s.name).CreateToken(s.Context(), account, request, metav1.CreateOptions{})
	s.must(err)
	return got.Status.Token
}

// mount writes what Kubernetes mounts in a pod, for a service account with a token.
func (s *space) mount(token string) (dir string) {
	s.Helper()
	dir = s.TempDir()
	for name, text := range map[string]string{"token": token, "ca.crt": string(s.plane.CA), "namespace": s.name} {
		s.write(filepath.Join(dir, name), text)
	}
	return dir
}

// write replaces a file at once, as kubelet does.
func (s *space) write(path, text string) {
	s.Helper()
	s.must(os.WriteFile(path+".new", []byte(text), 0o600))
	s.must(os.Rename(path+".new", path))
}

// create makes a pod that runs on a host and isn't ready.
func (s *space) create(name string, h *hosts.Host) *corev1.Pod {
	s.Helper()
	no := false
	pod, err := s.api.CoreV1().Pods(s.name).Create(s.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": service}},
		Spec: corev1.PodSpec{
			NodeName: machine, ServiceAccountName: account, AutomountServiceAccountToken: &no,
			Hostname: name, Subdomain: service,
			Containers: []corev1.Container{{
				Name: "node", Image: "node",
				Ports: []corev1.ContainerPort{{Name: portName, ContainerPort: port}, {Name: adminName, ContainerPort: adminPort}},
			}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.occupy(name, h)
	return pod
}

// occupy has a pod have a host's addresses, and not be ready.
func (s *space) occupy(name string, h *hosts.Host) {
	s.Helper()
	s.patch(name, fmt.Sprintf(`{"status":{"phase":"Running","podIP":%[1]q,"podIPs":[{"ip":%[1]q},{"ip":%[2]q}],"conditions":[{"type":"Ready","status":"False"}]}}`, h.IPv4, h.IPv6))
}

// setReady has a readiness probe succeed or fail.
func (s *space) setReady(name string, ready bool) {
	s.Helper()
	status := map[bool]string{true: "True", false: "False"}[ready]
	s.patch(name, fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}]}}`, status))
}

func (s *space) patch(name, status string) {
	s.Helper()
	_, err := s.api.CoreV1().Pods(s.name).Patch(s.Context(), name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	s.must(err)
}

// delete begins the deletion of a pod: it is terminating for the grace period, and
// until delete is called again with zero.
func (s *space) delete(name string, period int64) {
	s.Helper()
	s.must(s.api.CoreV1().Pods(s.name).Delete(s.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &period}))
}

// awaitSlice waits until the service's endpoint slice lists a pod as ready, and
// doesn't list one that is gone.
func (s *space) awaitSlice(ready, gone string) {
	s.Helper()
	s.awaitListed(fmt.Sprintf("%q ready and without %q", ready, gone), func(listed map[string]bool) bool {
		_, still := listed[gone]
		return listed[ready] && !still
	})
}

// awaitUnready waits until the service's endpoint slice lists pods as not ready.
func (s *space) awaitUnready(names ...string) {
	s.Helper()
	s.awaitListed(fmt.Sprintf("%q not ready", names), func(listed map[string]bool) bool {
		return !slices.ContainsFunc(names, func(name string) bool { ready, there := listed[name]; return ready || !there })
	})
}

// awaitListed waits until the pods that the service's endpoint slice lists, and
// whether each is ready, are as they should be.
func (s *space) awaitListed(what string, met func(listed map[string]bool) bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), soon)
	defer cancel()
	w, err := s.api.DiscoveryV1().EndpointSlices(s.name).Watch(ctx, metav1.ListOptions{})
	s.must(err)
	defer w.Stop()
	for e := range w.ResultChan() {
		slice, ok := e.Object.(*discoveryv1.EndpointSlice)
		if !ok {
			s.Fatalf("a watch of endpoint slices says %v", apierrors.FromObject(e.Object))
		}
		listed := map[string]bool{}
		for _, e := range slice.Endpoints {
			listed[e.TargetRef.Name] = *e.Conditions.Ready
		}
		if met(listed) {
			return
		}
	}
	s.Fatalf("after %s, the endpoint slice is not one with %s", soon, what)
}

// bind is where a node on a host is.
func bind(h *hosts.Host) string { return netip.AddrPortFrom(h.IPv4, port).String() }

// names of pods, as a StatefulSet gives them.
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("web-%d", i))
	}
	return slices.Clip(all)
}
