package kubernetes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// A kubeAPI is an API server over HTTP/2 and TLS that serves one slice of the
// namespace app, and the service account of a pod to access it.
type kubeAPI struct {
	t      testing.TB
	url    string
	folder string // of the service account
	hangUp func() // closes all connections

	mu     sync.Mutex
	nodes  []cluster.Node
	token  string           // the one that is valid
	cert   *tls.Certificate // what it shows
	broken http.HandlerFunc
	stir   chan struct{} // closed when anything changes
	cut    chan struct{} // closed when watches are to end
}

func newKubeAPI(tb testing.TB, nodes ...cluster.Node) *kubeAPI {
	tb.Helper()
	k := &kubeAPI{t: tb, folder: tb.TempDir(), nodes: nodes, token: "first", stir: make(chan struct{}), cut: make(chan struct{})}
	k.cert = k.newAuthority()
	k.write("token", "first")
	k.write("namespace", "app")
	server := httptest.NewUnstartedServer(k)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return &tls.Config{Certificates: []tls.Certificate{*k.cert}, NextProtos: []string{"h2"}}, nil
	}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that don't trust it
	server.StartTLS()
	tb.Cleanup(func() { k.change(func() { k.broken = refuse(503) }); server.CloseClientConnections(); server.Close() })
	k.url, k.hangUp = server.URL, server.CloseClientConnections
	return k
}

// strategy discovers the slice as a pod does.
func (k *kubeAPI) strategy(limits times) cluster.Strategy {
	return hasty{Strategy{Service: "web-nodes", Master: k.url, ServiceAccountPath: k.folder}, limits}
}

// hasty is a Strategy that need not wait long for answers.
type hasty struct {
	Strategy

	limits times
}

func (h hasty) Run(ctx context.Context, r *cluster.Roster) error {
	return h.run(ctx, r, ofProcess(), h.limits)
}

// write sets a file of the service account in one step.
func (k *kubeAPI) write(name, content string) {
	k.t.Helper()
	temporary := filepath.Join(k.t.TempDir(), name)
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(k.folder, name)); err != nil {
		k.t.Fatal(err)
	}
}

// newAuthority writes a new ca.crt, and returns a certificate that it has signed.
func (k *kubeAPI) newAuthority() *tls.Certificate {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "kubernetes"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"kubernetes.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		k.t.Fatal(err)
	}
	k.write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// change changes something, which watches see at once.
func (k *kubeAPI) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.stir)
	k.stir = make(chan struct{})
}

// set has the slice say nodes.
func (k *kubeAPI) set(nodes ...cluster.Node) { k.change(func() { k.nodes = nodes }) }

// cutOff changes something and ends all watches.
func (k *kubeAPI) cutOff(f func()) {
	k.change(func() {
		f()
		close(k.cut)
		k.cut = make(chan struct{})
	})
}

func (k *kubeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	broken, token, cut := k.broken, k.token, k.cut
	k.mu.Unlock()
	switch {
	case broken != nil:
		broken(w, r)
	case r.Header.Get("Authorization") != "Bearer "+token:
		refuse(http.StatusUnauthorized)(w, r)
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/app/endpointslices":
		refuse(http.StatusNotFound)(w, r)
	case r.URL.Query().Get("watch") != "":
		k.watch(w, r, cut)
	default:
		k.list(w)
	}
}

func (k *kubeAPI) list(w http.ResponseWriter) {
	current, _ := k.current()
	w.Header().Set("Content-Type", "application/json")
	list := sliceList("1", "", current)
	list.TypeMeta = metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}
	_ = json.NewEncoder(w).Encode(list)
}

// current is the slice as it is, and what is closed when it changes.
func (k *kubeAPI) current() (*discoveryv1.EndpointSlice, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := sliceOf("app", "web-nodes-1", k.nodes...)
	s.TypeMeta = metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"}
	return s, k.stir
}

// watch begins with what is now, since nobody knows what was listed.
func (k *kubeAPI) watch(w http.ResponseWriter, r *http.Request, cut <-chan struct{}) {
	w.Header().Set("Content-Type", "application/json")
	for {
		current, stir := k.current()
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": current})
		_ = http.NewResponseController(w).Flush()
		select {
		case <-stir:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// refuse answers as an API server does that refuses a request.
func refuse(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		status := apierrors.NewGenericServerResponse(code, "get", discoveryv1.Resource("endpointslices"), "", "it is so", 0, true).Status()
		status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(status)
	}
}

// says answers with something else.
func says(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// outages are what comes over a network instead of an answer.
func outages() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"403":         refuse(http.StatusForbidden),
		"429":         refuse(http.StatusTooManyRequests),
		"500":         refuse(http.StatusInternalServerError),
		"a hang":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no answer":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a page":      says("text/html", "<html>Log in</html>"),
		"nothing":     says("application/json", ""),
		"null":        says("application/json", "null"),
		"half":        says("application/json", `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{`),
		"other kinds": says("application/json", `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{}]}`),
		"no items":    says("application/json", `{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1"}`),
	}
}

// TestConformanceHTTP is over real sockets, with the client that a pod has. One fault
// has its checks one after the other, in which goroutines of timers are looked for, too.
func TestConformanceHTTP(t *testing.T) {
	t.Parallel()
	source := func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
		tb.Helper()
		k := newKubeAPI(tb, nodes...)
		faults := map[string]strategytest.Fault{
			"a token that isn't valid": {
				Break: func() { k.cutOff(func() { k.token = "second" }) },
				Mend:  func() { k.change(func() { k.token = "first" }) },
			},
		}
		for name, outage := range outages() {
			faults[name] = strategytest.Fault{
				Break: func() { k.cutOff(func() { k.broken = outage }) },
				Mend:  func() { k.change(func() { k.broken = nil }) },
			}
		}
		return strategytest.Source{Strategy: k.strategy(times{answer: time.Second, pingAfter: time.Minute, pingTimeout: time.Minute}), Set: k.set, Faults: faults}
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		strategytest.Test(t, strategytest.Harness{Parallel: true, New: source})
	})
	t.Run("one", func(t *testing.T) {
		t.Parallel()
		strategytest.Test(t, strategytest.Harness{New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
			tb.Helper()
			src := source(tb, nodes...)
			maps.DeleteFunc(src.Faults, func(name string, _ strategytest.Fault) bool { return name != "a hang" })
			return src
		}})
	})
}

// TestFilesAreReadAgain has a strategy come back by itself when a token or a
// certificate authority has rotated.
func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rotate func(k *kubeAPI) (mend func())
		says   string
	}{
		"a token": {func(k *kubeAPI) func() {
			k.cutOff(func() { k.token = "second" })
			return func() { k.write("token", "second") }
		}, "doesn't accept the token"},
		"an authority": {func(k *kubeAPI) func() {
			before, err := os.ReadFile(filepath.Join(k.folder, "ca.crt"))
			if err != nil {
				k.t.Fatal(err)
			}
			cert := k.newAuthority()
			after, err := os.ReadFile(filepath.Join(k.folder, "ca.crt"))
			if err != nil {
				k.t.Fatal(err)
			}
			k.write("ca.crt", string(before))
			k.change(func() { k.cert = cert })
			k.hangUp()
			return func() { k.write("ca.crt", string(after)) }
		}, "certificate signed by unknown authority"},
		"no authority": {func(k *kubeAPI) func() {
			before, err := os.ReadFile(filepath.Join(k.folder, "ca.crt"))
			if err != nil {
				k.t.Fatal(err)
			}
			k.write("ca.crt", "none")
			k.cutOff(func() { k.broken = refuse(503) })
			return func() {
				k.write("ca.crt", string(before))
				k.change(func() { k.broken = nil })
			}
		}, "unable to load root certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKubeAPI(t, "10.0.0.1:4370")
			told := tellOf(t, k.strategy(usual()))
			await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
			mend := tt.rotate(k)
			await(t, told, func(c cluster.Change) bool {
				return c.Kind == cluster.Failed && strings.Contains(c.Err.Error(), tt.says)
			})
			mend()
			await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced && len(c.Nodes) == 1 })
		})
	}
}

// TestKubeconfig has a context of a file be how the API server is accessed, also
// with a token and an authority in files of their own.
func TestKubeconfig(t *testing.T) {
	t.Parallel()
	k := newKubeAPI(t, "10.0.0.1:4370")
	k.write("kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: elsewhere
clusters:
- {name: here, cluster: {server: %q, certificate-authority: ca.crt}}
users:
- {name: me, user: {tokenFile: token}}
contexts:
- {name: elsewhere, context: {cluster: nowhere, user: nobody}}
- {name: here, context: {cluster: here, user: me, namespace: app}}
`, k.url))
	s := Strategy{Service: "web-nodes", Kubeconfig: filepath.Join(k.folder, "kubeconfig"), Context: "here"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told cluster.Change
	err := s.Run(ctx, cluster.NewRoster("", nil, func(c cluster.Change) { told = c; cancel() }))
	if err != nil || told.Kind != cluster.Replaced || len(told.Nodes) != 1 {
		t.Errorf("it tells %+v, and Run returns %v", told, err)
	}
}

// tellOf runs a strategy until the test ends.
func tellOf(t *testing.T, s cluster.Strategy) (told <-chan cluster.Change) {
	t.Helper()
	changes, ended := make(chan cluster.Change, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- s.Run(ctx, cluster.NewRoster("", nil, func(c cluster.Change) {
			select {
			case changes <- c:
			default: // a test that hangs has failed already
			}
		}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return changes
}

// await waits for a change.
func await(t *testing.T, told <-chan cluster.Change, met func(cluster.Change) bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	var last cluster.Change
	for {
		select {
		case last = <-told:
			if met(last) {
				return
			}
		case <-deadline.C:
			t.Fatalf("it doesn't come; the last is %+v", last)
		}
	}
}
