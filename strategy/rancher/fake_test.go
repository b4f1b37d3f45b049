package rancher

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask sends one request, from an address, and returns the answer.
func ask(t *testing.T, n *network, from, accept, path string) (status int, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://rancher-metadata/"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := n.clientAt(from).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(all)
}

// TestFake holds the server that the other tests ask to what the real one, v0.9.5,
// was seen to answer.
func TestFake(t *testing.T) {
	const (
		asJSON, version = "application/json", "00000003-85a2-4d3c-9f0e-d1f0a8b7c6e5"
		notFound        = `{"code":404,"message":"Not found","type":"error"}` + "\n"
	)
	for name, tt := range map[string]struct {
		from, accept, path string
		status             int
		body               string // or its begin and its end, with … in between
	}{
		"JSON":                      {"10.0.0.1", asJSON, "latest/self/service", 200, `{"containers":[{…,"vip":null}`},
		"a listing":                 {"10.0.0.1", "", "latest/self/service", 200, "containers\nkind\n…\nvip\n"},
		"a value":                   {"10.0.0.1", asJSON, "latest/self/service/name", 200, `"web"`},
		"a value in text":           {"10.0.0.1", "", "latest/self/service/name", 200, "web"},
		"the version":               {"10.0.0.1", asJSON, "latest/version", 200, `"` + version + `"`},
		"one that isn't there":      {"10.0.0.1", asJSON, "latest/self/nothing", 404, notFound},
		"and that in text":          {"10.0.0.1", "", "latest/self/nothing", 404, "Not found\n"},
		"another format":            {"10.0.0.1", asJSON, "1999-01-01/version", 404, notFound},
		"self of another":           {"10.0.0.9", asJSON, "latest/self/service/name", 200, `"db"`},
		"self of one not known":     {"10.0.0.8", asJSON, "latest/self/service", 404, notFound},
		"the rest is for all":       {"10.0.0.8", asJSON, "latest/stacks/0/name", 200, `"default"`},
		"by name, in any case":      {"10.0.0.1", asJSON, "latest/stacks/Default/services/WEB/kind", 200, `"service"`},
		"a container":               {"10.0.0.1", asJSON, "latest/self/service/containers/0", 200, `{"create_index":1,"health_state":null,…,"primary_ip":"10.0.0.1",…,"uuid":"c-10.0.0.1"}`},
		"one without an address":    {"10.0.0.1", asJSON, "latest/self/service/containers/1", 200, `…,"ips":[],…,"primary_ip":null,…`},
		"one that is stopped":       {"10.0.0.1", asJSON, "latest/self/service/containers/2/state", 200, `"stopped"`},
		"a service of no container": {"10.0.0.9", asJSON, "latest/self/service/containers", 200, `null`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMetadata()
				web := service("web", running("10.0.0.1"), running("10.0.0.2", "primary_ip", nil, "ips", []any{}), running("10.0.0.3", "state", "stopped"))
				m.load(nil)
				m.load(object{
					"self":   object{"10.0.0.1": object{"service": web}, "10.0.0.9": object{"service": service("db")}},
					"stacks": list([]object{stack("default", web)}),
				})
				status, contentType, body := ask(t, serve(t, m), tt.from, tt.accept, tt.path)
				if status != tt.status || contentType != "text/plain; charset=utf-8" || !matches(body, tt.body) {
					t.Errorf("it answers %d %s %q, want %d in text/plain with %q", status, contentType, body, tt.status, tt.body)
				}
			})
		})
	}
}

// matches reports whether s is want, of which … is anything.
func matches(s, want string) bool {
	begin, rest, cut := strings.Cut(want, "…")
	if !cut {
		return s == want
	}
	if !strings.HasPrefix(s, begin) {
		return false
	}
	s = s[len(begin):]
	for i := range len(s) + 1 {
		if matches(s[i:], rest) {
			return true
		}
	}
	return false
}

// TestFakeHolds has a request held for at least as long as it asks for, and then
// until the server looks, every 5 seconds.
func TestFakeHolds(t *testing.T) {
	const known = "&value=00000002-85a2-4d3c-9f0e-d1f0a8b7c6e5"
	for name, tt := range map[string]struct {
		query  string
		change func(m *metadata) // 10 s later
		least  time.Duration     // but for the 5 seconds
		status int
	}{
		"30 s":                       {"wait=true&maxWait=30" + known, nil, 30 * time.Second, 200},
		"the default":                {"wait=true" + known, nil, 60 * time.Second, 200},
		"the most":                   {"wait=true&maxWait=1000" + known, nil, 120 * time.Second, 200},
		"another version":            {"wait=true&maxWait=30&value=x", nil, 0, 200},
		"no version":                 {"wait=true&maxWait=30", nil, 0, 200},
		"not to wait":                {"maxWait=30" + known, nil, 0, 200},
		"a change":                   {"wait=true&maxWait=30" + known, func(m *metadata) { m.setNodes(self, b) }, 10 * time.Second, 200},
		"a change to what is broken": {"wait=true&maxWait=30" + known, func(m *metadata) { m.reload(`{"self":`) }, 30 * time.Second, 200},
		"the file goes":              {"wait=true&maxWait=30" + known, func(m *metadata) { m.load(nil) }, 30 * time.Second, 404},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var took []time.Duration
				for _, phase := range []time.Duration{0, 100 * time.Millisecond, 2500 * time.Millisecond, 4900 * time.Millisecond} {
					m := newMetadata()
					m.setNodes(self, a)
					n := serve(t, m)
					time.Sleep(phase)
					began := time.Now()
					if tt.change != nil {
						time.AfterFunc(10*time.Second, func() { tt.change(m) })
					}
					status, _, _ := ask(t, n, self.Host(), "application/json", "latest/version?"+tt.query)
					if status != tt.status {
						t.Errorf("it answers %d, want %d", status, tt.status)
					}
					took = append(took, time.Since(began))
				}
				most, spread := slices.Max(took), slices.Max(took)-slices.Min(took)
				atOnce := tt.least < 30*time.Second
				if slices.Min(took) < tt.least || most > tt.least+5*time.Second || atOnce != (most == tt.least) || atOnce != (spread == 0) {
					t.Errorf("it takes %v, want %s, and if that's the end of its patience, up to 5s more", took, tt.least)
				}
			})
		})
	}
}

// TestFakeReload has the server's file be another one, corrupt, gone, and back.
func TestFakeReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetadata()
		n := serve(t, m)
		says := func(path string) string {
			t.Helper()
			status, _, body := ask(t, n, self.Host(), "application/json", "latest/"+path)
			return fmt.Sprint(status, " ", body)
		}
		file := `{"self":{"10.0.0.1":{"service":{"name":"%s"}}}}`
		m.reload(fmt.Sprintf(file, "db"))
		if got := says("self/service/name"); got != `200 "db"` {
			t.Errorf("of a new file it answers %s", got)
		}
		version := says("version")
		m.reload(`{"self":{"10.0.0.1":`)
		if got, now := says("self/service/name"), says("version"); got != `200 "db"` || now != version {
			t.Errorf("of a corrupt file it answers %s, %s, want the old, %s", got, now, version)
		}
		was := m.load(nil)
		for _, path := range []string{"version", "self/service/name"} {
			if got := says(path); !strings.HasPrefix(got, "404 ") {
				t.Errorf("of a file that is gone it answers %s for %s", got, path)
			}
		}
		m.load(was)
		if got, now := says("self/service/name"), says("version"); got != `200 "db"` || now == version {
			t.Errorf("of the file that is back it answers %s, %s, want a new version", got, now)
		}
	})
}
