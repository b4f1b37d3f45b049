package rancher

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestUnresolved has a name that can't be resolved, for want of a DNS server.
func TestUnresolved(t *testing.T) {
	t.Parallel()
	none := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS server here") }
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: none}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	c := first(t, Strategy{Client: client, Interval: time.Hour}, "")
	if _, ok := errors.AsType[*net.DNSError](c.Err); !ok || !strings.Contains(c.Err.Error(), "lookup rancher-metadata") {
		t.Errorf("it tells %s %v, want a Fail that says which name", c.Kind, c.Err)
	}
}

// TestClient has a Client of one's own be used as it is, but for its timeout,
// and not be changed.
func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := inMemory(t)
		s.Client.Timeout = time.Millisecond
		told := start(t, s, self)
		expect(t, told, a)
		time.Sleep(time.Hour)
		silent(t, told)
		if s.Client.Timeout != time.Millisecond || s.Client.CheckRedirect != nil {
			t.Errorf("the client is changed: %+v", s.Client)
		}
	})
}

// TestRedirectFollowed has a Client that follows redirects do so.
func TestRedirectFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		m.mu.Lock()
		m.outage = func(w http.ResponseWriter, r *http.Request) {
			m.fail(nil, false)
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}
		m.mu.Unlock()
		s.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
		expect(t, start(t, s, self), a)
	})
}

// TestRedirectIsTold has the error of a redirect say where to, but neither with a
// password nor with what may be as secret.
func TestRedirectIsTold(t *testing.T) {
	for name, tt := range map[string]struct{ to, want string }{
		"a path":       {"/login", `302 Found to "/login": `},
		"another host": {"https://sso.example/login", `to "https://sso.example/login": `},
		"a password":   {"https://me:hush@sso.example/login", `to "…@sso.example/login": `},
		"a query":      {"/login?token=hush&at=a@b", `to "/login": `},
		"a fragment":   {"/login#token=hush", `to "/login": `},
		"a long one":   {"/" + strings.Repeat("l", 10000), `lll"…: `},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				m.fail(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", tt.to)
					w.WriteHeader(http.StatusFound)
				}, true)
				err := first(t, s, self).Err
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || len(err.Error()) > 1000 {
					t.Errorf("the error is %v, want %s in it", err, tt.want)
				}
			})
		})
	}
}

// TestNoProxy has the client that is the default use no proxy, though the
// environment names one for the server's address.
func TestNoProxy(t *testing.T) {
	proxy := httptest.NewServer(says(http.StatusTeapot, "text/plain", "a proxy"))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	m := newMetadata()
	m.setNodes(self, a)
	server := httptest.NewServer(m)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	// The environment names none for 127.0.0.1, of which 0.0.0.0 is another name
	// when it is dialled.
	base := "http://0.0.0.0:" + server.URL[strings.LastIndexByte(server.URL, ':')+1:] + "/latest"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := http.ProxyFromEnvironment(req); err != nil || u == nil || u.String() != proxy.URL {
		t.Fatalf("the environment's proxy is %v, %v, want %s", u, err, proxy.URL)
	}
	expect(t, start(t, Strategy{BaseURL: base, Interval: time.Hour}, self), a)
}

// TestConnections has the client that is the default make a new connection for
// each request, and one of one's own do as it likes, from one Run to the next.
func TestConnections(t *testing.T) {
	t.Parallel()
	own := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(own.CloseIdleConnections)
	for name, tt := range map[string]struct {
		client *http.Client
		want   int // after two runs of two requests each
	}{
		"the default":   {nil, 4},
		"one's own one": {own, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMetadata()
			m.setNodes(self, a)
			m.tired = true
			var made atomic.Int32
			server := httptest.NewUnstartedServer(m)
			server.Config.ConnState = func(_ net.Conn, is http.ConnState) {
				if is == http.StateNew {
					made.Add(1)
				}
			}
			server.Start()
			t.Cleanup(server.Close)
			for range 2 {
				ctx, cancel := context.WithCancel(t.Context())
				r := cluster.NewRoster(self, nil, func(cluster.Change) { cancel() })
				if err := (Strategy{BaseURL: server.URL + "/latest", Interval: time.Hour, Client: tt.client}).Run(ctx, r); err != nil {
					t.Fatal(err)
				}
			}
			if asked := len(m.requests()); asked != 4 || int(made.Load()) != tt.want {
				t.Errorf("it makes %d connections for %d requests, want %d for 4", made.Load(), asked, tt.want)
			}
		})
	}
}

// TestBlackHole has dials go nowhere. Those of the default client end with Run,
// those of one's own with its dial timeout, of which there are no more at a time
// than that makes.
func TestBlackHole(t *testing.T) {
	for name, tt := range map[string]struct {
		own  bool
		left int32 // when Run has returned
	}{
		"the default": {false, 0}, "one's own": {true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all, now, most atomic.Int32
				ctx, cancel := context.WithCancel(t.Context())
				dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
					ctx, end := context.WithTimeout(ctx, requestTimeout)
					defer end()
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					if all.Add(1) == 100 {
						cancel()
					}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				var s Strategy
				if tt.own {
					s.Client = &http.Client{Transport: &http.Transport{}}
				}
				client, closeIdle := s.client()
				client.Transport.(*http.Transport).DialContext = dial
				base, err := s.base()
				if err != nil {
					t.Fatal(err)
				}
				p := poller{
					strategy: s.withDefaults(self), client: client, version: base, content: base,
					roster: cluster.NewRoster(self, nil, func(cluster.Change) {}),
				}
				p.run(ctx)
				closeIdle()
				synctest.Wait()
				if now.Load() != tt.left || most.Load() > 2 {
					t.Errorf("%d dials are left, and there were %d at a time, want %d, and at most 2", now.Load(), most.Load(), tt.left)
				}
				time.Sleep(requestTimeout)
				synctest.Wait()
				if now.Load() != 0 {
					t.Errorf("%d dials are left after their timeout", now.Load())
				}
			})
		})
	}
}
