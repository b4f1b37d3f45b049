//go:build linux

// Package controlplane runs a real Kubernetes control plane on a host of package
// hosts: etcd, kube-apiserver, kube-controller-manager and CoreDNS.
//
//	plane := controlplane.Start(t, net.Hosts[0])
//	pods, err := plane.Client().CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
//	plane.StopAPI()
//	plane.StartAPI()
//
// There is no kubelet and no scheduler: a test makes pods, gives each the address
// of another host, and says which are ready. The controllers make of that what they
// do anywhere: EndpointSlices, Endpoints, and the pods of Deployments and
// StatefulSets.
//
// The programs are where the variables CLUSTER_KUBERNETES and CLUSTER_COREDNS of the
// environment say; .ci/kubernetes builds them and sets these. The servers end when
// the test ends, and when its process dies.
//
// # Concurrency
//
// A Plane may be used from one goroutine at a time, its clients from any.
package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	// Port is where the API server listens, by HTTPS.
	Port = 6443
	// Domain is that of the services that CoreDNS serves.
	Domain = "cluster.local"

	programsVariable = "CLUSTER_KUBERNETES" // of the environment: a folder
	coreDNSVariable  = "CLUSTER_COREDNS"    // of the environment: a program
	etcdURL          = "http://127.0.0.1:2379"
	startWithin      = time.Minute
	lookEvery        = 50 * time.Millisecond

	controllers = "endpointslice-controller,endpoints-controller,serviceaccount-controller,namespace-controller," +
		"root-ca-certificate-publisher-controller,garbage-collector-controller,statefulset-controller," +
		"deployment-controller,replicaset-controller"
)

// A Plane is a control plane.
type Plane struct {
	// Addr is where the API server listens, which the other hosts reach.
	Addr netip.AddrPort

	// CA is the certificate that it is verified by, in PEM.
	CA []byte

	tb                 testing.TB
	host               *hosts.Host
	dir                string // of the servers' files
	programs           string // where these are
	admin              *rest.Config
	adminFile          string // a kubeconfig
	client             kubernetes.Interface
	etcd, api, manager *server
}

// Start starts a control plane on a host, which has no other, and returns once it
// serves. It is stopped when the test ends, and what its servers have logged is
// shown if that has failed.
func Start(tb testing.TB, h *hosts.Host) *Plane {
	tb.Helper()
	p := &Plane{Addr: netip.AddrPortFrom(h.IPv4, Port), tb: tb, host: h, dir: tb.TempDir(), programs: os.Getenv(programsVariable)}
	if p.programs == "" {
		tb.Fatalf("%s is not set to the folder of etcd, kube-apiserver and kube-controller-manager: .ci/kubernetes builds them and does", programsVariable)
	}
	keys := newPKI(tb, net.IP(h.IPv4.AsSlice()))
	p.CA = keys.ca
	p.admin = p.config(rest.TLSClientConfig{CertData: keys.adminCert, KeyData: keys.adminKey}, "")
	client, err := kubernetes.NewForConfig(p.admin)
	if err != nil {
		tb.Fatal(err)
	}
	p.client = client
	p.adminFile = p.write("admin.kubeconfig", p.Kubeconfig(&api.AuthInfo{
		ClientCertificateData: keys.adminCert, ClientKeyData: keys.adminKey,
	}))
	p.etcd = newServer(tb, h, filepath.Join(p.programs, "etcd"), "--data-dir="+filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380")
	p.api = p.newAPI(keys)
	p.manager = p.newManager()
	p.etcd.start()
	p.StartAPI()
	return p
}

func (p *Plane) newAPI(keys pki) *server {
	key := p.write("service-account.key", keys.accountKey)
	return newServer(p.tb, p.host, filepath.Join(p.programs, "kube-apiserver"),
		"--etcd-servers="+etcdURL, "--endpoint-reconciler-type=none", "--authorization-mode=RBAC",
		"--bind-address="+p.Addr.Addr().String(), "--advertise-address="+p.Addr.Addr().String(), fmt.Sprintf("--secure-port=%d", Port),
		"--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112", "--cert-dir="+p.dir,
		"--tls-cert-file="+p.write("server.crt", keys.serverCert), "--tls-private-key-file="+p.write("server.key", keys.serverKey),
		"--client-ca-file="+p.write("ca.crt", keys.ca), "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key)
}

func (p *Plane) newManager() *server {
	return newServer(p.tb, p.host, filepath.Join(p.programs, "kube-controller-manager"),
		"--kubeconfig="+p.adminFile, "--secure-port=0", "--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(p.dir, "service-account.key"),
		"--root-ca-file="+filepath.Join(p.dir, "ca.crt"), "--kube-api-qps=200", "--kube-api-burst=400", "--controllers="+controllers)
}

// write writes a file for the servers, and returns its path.
func (p *Plane) write(name string, data []byte) (path string) {
	p.tb.Helper()
	path = filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.tb.Fatal(err)
	}
	return path
}

// StopAPI kills the API server, and the controllers, which need it.
func (p *Plane) StopAPI() {
	p.tb.Helper()
	p.manager.stop()
	p.api.stop()
}

// StartAPI starts the API server again, and returns once it serves.
func (p *Plane) StartAPI() {
	p.tb.Helper()
	p.api.start()
	p.await(p.api, "the API server to be ready", func() error {
		return p.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error()
	})
	p.manager.start()
}

// await waits until ready returns nil.
func (p *Plane) await(s *server, what string, ready func() error) {
	p.tb.Helper()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for deadline := time.Now().Add(startWithin); ; {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("waited %s for %s: %v", startWithin, what, err)
		}
		select {
		case <-look.C:
		case <-s.exited:
			p.tb.Fatalf("while the test waits for %s, the process has ended", what)
		}
	}
}

// Client is one who may do everything.
func (p *Plane) Client() kubernetes.Interface { return p.client }

// Config is that of one who may do everything.
func (p *Plane) Config() *rest.Config { return rest.CopyConfig(p.admin) }

// TokenConfig is that of one who has a token.
func (p *Plane) TokenConfig(token string) *rest.Config {
	return p.config(rest.TLSClientConfig{}, token)
}

// config has the test connect from the host itself: so it reaches the API server
// though that is cut off from the others.
func (p *Plane) config(tls rest.TLSClientConfig, token string) *rest.Config {
	tls.CAData = p.CA
	return &rest.Config{
		Host: "https://" + p.Addr.String(), TLSClientConfig: tls, BearerToken: token,
		Dial: p.host.Dial, QPS: -1,
	}
}

// Kubeconfig is a file of that kind for someone.
func (p *Plane) Kubeconfig(user *api.AuthInfo) []byte {
	p.tb.Helper()
	text, err := clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{"e2e": {Server: "https://" + p.Addr.String(), CertificateAuthorityData: p.CA}},
		AuthInfos:      map[string]*api.AuthInfo{"user": user},
		Contexts:       map[string]*api.Context{"e2e": {Cluster: "e2e", AuthInfo: "user"}},
		CurrentContext: "e2e",
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	return text
}

// Compact has etcd forget all that was before a revision, which is a resource
// version of the API.
func (p *Plane) Compact(ctx context.Context, revision string) {
	p.tb.Helper()
	body, err := json.Marshal(map[string]any{"revision": revision, "physical": true})
	if err != nil {
		p.tb.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, etcdURL+"/v3/kv/compaction", bytes.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: p.host.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		p.tb.Fatalf("etcd answers a compaction with %s", resp.Status)
	}
}

// StartDNS starts CoreDNS on the host too, and returns the address where it serves
// the names of [Domain] once it does.
func (p *Plane) StartDNS() string {
	p.tb.Helper()
	program := os.Getenv(coreDNSVariable)
	if program == "" {
		p.tb.Fatalf("%s is not set to the program coredns: .ci/kubernetes builds it and does", coreDNSVariable)
	}
	corefile := p.write("Corefile", fmt.Appendf(nil, `%s:53 {
	bind %s
	errors
	kubernetes {
		kubeconfig %s
		pods verified
		ttl 1
	}
}
`, Domain, p.Addr.Addr(), p.adminFile))
	addr := netip.AddrPortFrom(p.Addr.Addr(), 53).String()
	dns := newServer(p.tb, p.host, program, "-conf", corefile)
	dns.start()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return p.host.Dial(ctx, network, addr)
	}}
	p.await(dns, "CoreDNS to serve", func() error {
		_, err := resolver.LookupHost(context.Background(), "kubernetes.default.svc."+Domain+".")
		return err
	})
	return addr
}
