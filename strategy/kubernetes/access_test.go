package kubernetes

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestRedirects has the token never go to a server that another names, for a list
// nor a watch.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"found": http.StatusFound, "for good": http.StatusPermanentRedirect} {
		for verb, redirected := range map[string]func(*http.Request) bool{
			"list":  func(*http.Request) bool { return true },
			"watch": func(r *http.Request) bool { return r.URL.Query().Get("watch") != "" },
		} {
			t.Run(name+", "+verb, func(t *testing.T) {
				t.Parallel()
				elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					t.Errorf("it was asked %s, with the token %q", r.URL, r.Header.Get("Authorization"))
				}))
				defer elsewhere.Close()
				k := newKubeAPI(t, "10.0.0.1:4370")
				k.change(func() {
					k.broken = func(w http.ResponseWriter, r *http.Request) {
						if redirected(r) {
							http.Redirect(w, r, elsewhere.URL+"/pods", code)
							return
						}
						k.list(w)
					}
				})
				told := tellOf(t, k.strategy(usual()))
				await(t, told, func(c cluster.Change) bool {
					return c.Kind == cluster.Failed && strings.Contains(c.Err.Error(), "redirects to "+elsewhere.URL+"/pods")
				})
				k.change(func() { k.broken = nil })
				await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
			})
		}
	}
}

// TestAServerThatIsMute has a network that takes all and gives nothing be noticed by
// pings: the watch goes on, and else only the next list would show.
func TestAServerThatIsMute(t *testing.T) {
	t.Parallel()
	k := newKubeAPI(t, "10.0.0.1:4370")
	p := newProxy(t, k)
	told := tellOf(t, hasty{p.strategy(), times{answer: 2 * time.Second, pingAfter: 50 * time.Millisecond, pingTimeout: 500 * time.Millisecond}})
	await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
	p.muted.Store(true)
	await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Failed })
	p.muted.Store(false)
	await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
}

// TestTheProxyOfAKubeconfig has its proxy-url be how the API server is reached.
func TestTheProxyOfAKubeconfig(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newKubeAPI(t, "10.0.0.1:4370"))
	told := tellOf(t, p.strategy())
	await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
	if got := p.asked.Load(); got != "kubernetes.example:6443" {
		t.Errorf("the proxy is asked for %v", got)
	}
}

// TestTheProxyOfTheEnvironment has HTTPS_PROXY be so, too. Package net/http reads it
// once in a process, so that this is another, which runs the same test.
func TestTheProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	if folder := os.Getenv("TEST_SERVICE_ACCOUNT"); folder != "" {
		told := tellOf(t, Strategy{Service: "web-nodes", Master: "https://kubernetes.example:6443", ServiceAccountPath: folder})
		await(t, told, func(c cluster.Change) bool { return c.Kind == cluster.Replaced })
		return
	}
	p := newProxy(t, newKubeAPI(t, "10.0.0.1:4370"))
	inside := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	inside.Env = append(os.Environ(), "TEST_SERVICE_ACCOUNT="+p.api.folder, "HTTPS_PROXY="+p.url, "https_proxy=", "NO_PROXY=", "no_proxy=")
	if out, err := inside.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := p.asked.Load(); got != "kubernetes.example:6443" {
		t.Errorf("the proxy is asked for %v", got)
	}
}

// A proxy leads to an API server, whatever address it is asked for.
type proxy struct {
	api   *kubeAPI
	url   string
	asked atomic.Value // the last address
	muted atomic.Bool  // it swallows all bytes
}

func newProxy(t *testing.T, k *kubeAPI) *proxy {
	t.Helper()
	p := &proxy{api: k}
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		defer tunnels.Done()
		p.connect(t, w, r)
	}))
	t.Cleanup(func() { server.Close(); tunnels.Wait() })
	p.url = server.URL
	return p
}

// connect serves a tunnel until either side ends it.
func (p *proxy) connect(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	p.asked.Store(r.Host)
	server, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.api.url, "https://"))
	if err != nil {
		t.Error(err)
		return
	}
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = client.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	var both sync.WaitGroup
	both.Go(func() { p.pass(client, server) })
	both.Go(func() { p.pass(server, client) })
	both.Wait()
}

func (p *proxy) pass(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !p.muted.Load() {
			_, _ = to.Write(buf[:n])
		}
	}
}

// strategy asks by the proxy, as a kubeconfig says.
func (p *proxy) strategy() Strategy {
	p.api.write("kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: here
clusters:
- {name: here, cluster: {server: "https://kubernetes.example:6443", certificate-authority: ca.crt, proxy-url: %q}}
users:
- {name: me, user: {tokenFile: token}}
contexts:
- {name: here, context: {cluster: here, user: me, namespace: app}}
`, p.url))
	return Strategy{Service: "web-nodes", Kubeconfig: filepath.Join(p.api.folder, "kubeconfig")}
}
