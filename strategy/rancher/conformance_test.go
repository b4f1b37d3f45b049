package rancher

import (
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// The tests wait rather than work, so that more of them go side by side than there
// are processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// says answers every request with the same.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// cut sends a part of an answer and then does what end does.
func cut(end http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"containers":[`))
		_ = http.NewResponseController(w).Flush()
		end(w, r)
	}
}

func hang(_ http.ResponseWriter, r *http.Request)  { <-r.Context().Done() }
func abort(http.ResponseWriter, *http.Request)     { panic(http.ErrAbortHandler) }
func login(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }

// outages are what a server, or what is in between, may answer instead.
func outages() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"500":                    says(500, "text/plain", "Error serializing to JSON"),
		"503":                    says(503, "text/html", "<html>Service Unavailable</html>"),
		"403":                    says(403, "text/plain", "Forbidden"),
		"204":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"HTML":                   says(200, "text/html", "<html>Welcome</html>"),
		"a listing":              says(200, "text/plain", "containers/\nname\n"),
		"JSON that is no answer": says(200, "application/json", `[{"name":"web"}]`),
		"JSON that breaks off":   says(200, "text/plain", `{"containers":[{"name":`),
		"empty":                  says(200, "text/plain", ""),
		"null":                   says(200, "text/plain", "null"),
		"a version too long":     says(200, "text/plain", `"`+strings.Repeat("v", maxVersion+1)+`"`),
		"a redirect":             login,
		"a truncated body":       cut(abort),
		"no answer":              abort,
	}
}

// faults are those of a server, and of a network to it if there is one. Some come
// from what it serves, of which the version is fine.
func (m *metadata) faults(n *network) map[string]strategytest.Fault {
	mend := func() { m.fail(nil, false) }
	faults := map[string]strategytest.Fault{
		// A request that is held already is told of these only in the end.
		"a hang":             {Break: func() { m.fail(hang, false) }, Mend: mend},
		"a hang in the body": {Break: func() { m.fail(cut(hang), false) }, Mend: mend},
	}
	for name, outage := range outages() {
		faults[name] = strategytest.Fault{Break: func() { m.fail(outage, true) }, Mend: mend}
	}
	if n != nil {
		for name, err := range map[string]error{
			"refused":                   &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
			"a name that isn't known":   &net.DNSError{Err: "no such host", Name: "rancher-metadata", IsNotFound: true},
			"no answer from the server": &net.DNSError{Err: "i/o timeout", Name: "rancher-metadata", IsTimeout: true},
		} {
			faults[name] = strategytest.Fault{
				Break: func() { n.setFail(err); m.fail(abort, true) },
				Mend:  func() { m.fail(nil, false); n.setFail(nil) },
			}
		}
	}
	web := func(containers ...any) object {
		return object{"self": asker(object{"service": object{"name": "web", "containers": containers}})}
	}
	for name, answers := range map[string]object{
		"the answers are gone":            nil,
		"this container isn't known":      {"self": object{}},
		"no service":                      {"self": asker(object{"service": object{"name": "web"}})},
		"containers of the oldest format": web("default-web-2"),
		"a container that is null":        web(nil),
		"a container without anything":    web(object{}),
		"a container without a name":      web(object{"primary_ip": "10.0.0.1", "ips": []any{"10.0.0.1"}}),
		"containers of another API":       web(object{"id": "1i17", "name": "web-1", "primaryIpAddress": "10.0.0.1"}),
		"an address that is none":         web(running("10.0.0.2"), running("web.internal")),
		"an address that is a number":     web(running("10.0.0.2", "primary_ip", 17)),
	} {
		var was object
		faults[name] = strategytest.Fault{
			Break: func() { was = m.load(answers) },
			Mend:  func() { m.load(was) },
		}
	}
	return faults
}

// TestConformance has real timing, in no time: the server and its network are in
// the bubble.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, tired := range map[string]bool{"a server that holds requests": false, "a server that doesn't": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			strategytest.Test(t, strategytest.Harness{
				New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
					tb.Helper()
					m := newMetadata()
					m.tired = tired
					m.setNodes(nodes...)
					n := serve(tb, m)
					return strategytest.Source{Strategy: Strategy{Client: n.client()}, Set: m.setNodes, Faults: m.faults(n)}
				},
				Bubble: true,
				Within: 2 * time.Minute,
				Quiet:  time.Minute,
			})
		})
	}
}

// TestConformanceTCP is over real sockets, with the client that is the default.
func TestConformanceTCP(t *testing.T) {
	t.Parallel()
	strategytest.Test(t, strategytest.Harness{Parallel: true, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
		tb.Helper()
		m := newMetadata()
		m.setNodes(nodes...)
		server := httptest.NewServer(m)
		tb.Cleanup(func() { server.CloseClientConnections(); server.Close() })
		faults := map[string]strategytest.Fault{} // those that are noticed in no time
		for _, name := range []string{"500", "a version too long", "a redirect", "no answer"} {
			faults[name] = m.faults(nil)[name]
		}
		return strategytest.Source{
			Strategy: Strategy{BaseURL: server.URL + "/latest", Interval: 100 * time.Millisecond},
			Set:      m.setNodes, Faults: faults,
		}
	}})
}
