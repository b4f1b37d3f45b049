//go:build linux

package kubernetes_test

import (
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	dual  = "dual"  // a service of both families, with the port that is called adminName
	early = "early" // one that publishes addresses of pods that aren't ready
)

// populate makes pods without nodes, each on its free host: 0 and 1 are ready, 2 isn't,
// and 3 is terminating. In another space 4 is ready.
func (s *space) populate() (other *space) {
	s.Helper()
	both := corev1.IPFamilyPolicyRequireDualStack
	s.serve(dual, corev1.ServiceSpec{
		IPFamilyPolicy: &both,
		Ports:          []corev1.ServicePort{{Name: adminName, Port: adminPort, TargetPort: intstr.FromString(adminName)}},
	})
	s.serve(early, corev1.ServiceSpec{PublishNotReadyAddresses: true})
	for i, name := range names(4) {
		s.create(name, s.free[i])
		s.setReady(name, i != 2)
	}
	s.delete("web-3", 300)
	other = newSpaceFor(s.T, s.rig, s.T.Name()+", the other")
	other.create("web-4", s.free[4])
	other.setReady("web-4", true)
	return other
}

// at are the nodes of the pods on these free hosts.
func (s *space) at(family func(*hosts.Host) netip.Addr, port uint16, free ...int) (nodes []cluster.Node) {
	for _, i := range free {
		nodes = append(nodes, cluster.Node(netip.AddrPortFrom(family(s.free[i]), port).String()))
	}
	return nodes
}

func ipv4(h *hosts.Host) netip.Addr { return h.IPv4 }
func ipv6(h *hosts.Host) netip.Addr { return h.IPv6 }

// testAnswers asks the real API server for what the meshes of the other tests don't
// need. The pods have no nodes.
func testAnswers(s *space) {
	other := s.populate()
	v4 := func(free ...int) []cluster.Node { return s.at(ipv4, port, free...) }
	v6 := func(free ...int) []cluster.Node { return s.at(ipv6, port, free...) }
	admin := func(free ...int) []cluster.Node { return s.at(ipv4, adminPort, free...) }
	const pods = "app=" + service
	for _, tt := range []struct {
		name        string
		strategy    kubernetes.Strategy // of the namespace of s, if it has none
		self        cluster.Node
		nodes, keep []cluster.Node
	}{
		{"slices", kubernetes.Strategy{Service: service}, "", v4(0, 1), v4(2, 3)},
		{"slices, not ready ones too", kubernetes.Strategy{Service: service, IncludeNotReady: true}, "", v4(0, 1, 2), v4(3)},
		{"slices, of unready addresses", kubernetes.Strategy{Service: early}, "", v4(0, 1, 2), v4(3)},
		{"slices, from the cache", kubernetes.Strategy{Service: service, UseCachedResources: true}, "", v4(0, 1), v4(2, 3)},
		{"slices, by a port's name", kubernetes.Strategy{Service: dual, PortName: adminName}, "", admin(0, 1), admin(2, 3)},
		{"slices, IPv6 preferred", kubernetes.Strategy{Service: dual, Family: kubernetes.PreferIPv6}, "", v6(0, 1), v6(2, 3)},
		{"slices, IPv6 preferred and not there", kubernetes.Strategy{Service: service, Family: kubernetes.PreferIPv6}, "", v4(0, 1), v4(2, 3)},
		{"slices, the family of this node", kubernetes.Strategy{Service: dual}, v6(9)[0], v6(0, 1), v6(2, 3)},
		{"slices, without this node", kubernetes.Strategy{Service: dual}, v4(0)[0], v4(1), v4(2, 3)},
		{"slices, of two namespaces", kubernetes.Strategy{Service: service, Namespaces: []string{s.name, other.name}}, "", v4(0, 1, 4), v4(2, 3)},

		{"pods", kubernetes.Strategy{Source: kubernetes.Pods, Selector: pods}, "", v4(0, 1), v4(2, 3)},
		{"pods, by fields", kubernetes.Strategy{Source: kubernetes.Pods, FieldSelector: "spec.nodeName=machine,metadata.name!=web-0"}, "", v4(1), v4(2, 3)},
		{"pods, from the cache", kubernetes.Strategy{Source: kubernetes.Pods, Selector: pods, UseCachedResources: true}, "", v4(0, 1), v4(2, 3)},
		{"pods, by a port's name", kubernetes.Strategy{Source: kubernetes.Pods, Selector: pods, PortName: adminName}, "", admin(0, 1), admin(2, 3)},
		{"pods, IPv6 only", kubernetes.Strategy{Source: kubernetes.Pods, Selector: pods, Family: kubernetes.OnlyIPv6}, "", v6(0, 1), v6(2, 3)},
		{"pods, of two namespaces", kubernetes.Strategy{Source: kubernetes.Pods, Selector: pods, Namespaces: []string{s.name, other.name}}, "", v4(0, 1, 4), v4(2, 3)},

		{"endpoints", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: service}, "", v4(0, 1), v4(2)},
		// Who terminates is among the ready ones there, which nothing tells from others.
		{"endpoints, of unready addresses", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: early}, "", v4(0, 1, 2, 3), nil},
		{"endpoints, from the cache", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: service, UseCachedResources: true}, "", v4(0, 1), v4(2)},
		{"endpoints, by a port's name", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: dual, PortName: adminName}, "", admin(0, 1), admin(2)},
		{"endpoints, of two namespaces", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: service, Namespaces: []string{s.name, other.name}}, "", v4(0, 1, 4), v4(2)},
	} {
		s.Run(tt.name, func(t *testing.T) {
			asked := &lists{}
			cfg := s.plane.Config()
			cfg.Wrap(asked.wrap)
			k := tt.strategy
			k.Client = fromConfig(t, cfg)
			if k.Namespaces == nil {
				k.Namespaces = []string{s.name}
			}
			ask(t, k, tt.self).awaitAnswer(tt.nodes, tt.keep)
			asked.check(t, k.UseCachedResources)
		})
	}
}

// lists are the requests for lists that are made on their way to the API server.
type lists struct {
	next http.RoundTripper

	mu       sync.Mutex
	versions []string // that they ask for
}

func (l *lists) wrap(next http.RoundTripper) http.RoundTripper {
	l.next = next
	return l
}

// RoundTrip implements [http.RoundTripper].
func (l *lists) RoundTrip(req *http.Request) (*http.Response, error) {
	if q := req.URL.Query(); q.Get("watch") == "" {
		l.mu.Lock()
		l.versions = append(l.versions, q.Get("resourceVersion"))
		l.mu.Unlock()
	}
	return l.next.RoundTrip(req)
}

// check fails the test unless the API server was asked for what its cache has, or for
// the latest.
func (l *lists) check(t *testing.T, cached bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	want := map[bool]string{true: "0", false: ""}[cached]
	if len(l.versions) == 0 || slices.ContainsFunc(l.versions, func(v string) bool { return v != want }) {
		t.Errorf("lists ask for the versions %q, want %q", l.versions, want)
	}
}

// testAccess has the strategy itself access the real API server, in each way that it
// can, and find the namespace there.
func testAccess(s *space) {
	other := s.populate()
	for _, o := range []*space{s, other} {
		o.grant(account, rule(slicesResource, "list", "watch"))
	}
	server := s.plane.Forward()
	admin := s.plane.Config()
	file := filepath.Join(s.TempDir(), "kubeconfig")
	s.must(clientcmd.WriteToFile(api.Config{
		Clusters: map[string]*api.Cluster{"e2e": {Server: server, CertificateAuthorityData: s.plane.CA}},
		AuthInfos: map[string]*api.AuthInfo{
			"certificate": {ClientCertificateData: admin.CertData, ClientKeyData: admin.KeyData},
			"token":       {Token: other.token(account, nil)},
		},
		Contexts: map[string]*api.Context{
			"by certificate": {Cluster: "e2e", AuthInfo: "certificate", Namespace: s.name},
			"by token":       {Cluster: "e2e", AuthInfo: "token", Namespace: other.name},
		},
		CurrentContext: "by token",
	}, file))
	for _, tt := range []struct {
		name        string
		strategy    kubernetes.Strategy
		nodes, keep []cluster.Node
	}{
		{"service account", kubernetes.Strategy{Master: server, ServiceAccountPath: s.mount(s.token(account, nil))}, s.at(ipv4, port, 0, 1), s.at(ipv4, port, 2, 3)},
		{"current context, with a token", kubernetes.Strategy{Kubeconfig: file}, s.at(ipv4, port, 4), nil},
		{"context, with a certificate", kubernetes.Strategy{Kubeconfig: file, Context: "by certificate"}, s.at(ipv4, port, 0, 1), s.at(ipv4, port, 2, 3)},
	} {
		s.Run(tt.name, func(t *testing.T) {
			k := tt.strategy
			k.Service = service
			ask(t, k, "").awaitAnswer(tt.nodes, tt.keep)
		})
	}
}
