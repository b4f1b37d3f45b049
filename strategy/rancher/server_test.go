package rancher

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

// An object is one of the metadata's.
type object = map[string]any

// A metadata is Rancher's metadata server, v0.9.5, as far as it matters here:
// its paths, its shapes, its content types, and how long it holds a request.
// TestFake holds it to that.
type metadata struct {
	began time.Time

	mu      sync.Mutex
	answers object // nil: the file is gone
	changes int
	changed chan struct{}     // closed at the next change
	outage  http.HandlerFunc  // instead of an answer
	tired   bool              // it holds no request
	after   func(path string) // called after each answer
	asked   []request
}

// A request is one that the server got.
type request struct {
	at           time.Time
	path, accept string // the path with its query
}

// tick is how often the server looks whether it has held a request for long
// enough.
const tick = 5 * time.Second

func newMetadata() *metadata {
	m := &metadata{began: time.Now(), changed: make(chan struct{})}
	m.set()
	return m
}

// running is a container, of which more overrides fields, as key and value.
func running(ip string, more ...any) object {
	c := object{
		"name": "default-web-" + ip[strings.LastIndexAny(ip, ".:")+1:], "primary_ip": ip, "ips": []any{ip},
		"state": "running", "health_state": nil, "hostname": "web", "labels": object{}, "ports": nil,
		"service_name": "web", "stack_name": "default", "uuid": "c-" + ip, "create_index": 1, "start_count": 1,
	}
	for i := 0; i < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	return c
}

// service is the JSON of one. Of no containers it is null.
func service(name string, containers ...object) object {
	s := object{
		"name": name, "stack_name": "default", "kind": "service", "scale": len(containers), "uuid": "s-" + name,
		"vip": nil, "sidekicks": nil, "links": object{}, "metadata": object{}, "containers": nil,
	}
	if len(containers) > 0 {
		s["containers"] = list(containers)
	}
	return s
}

func stack(name string, services ...object) object {
	return object{"name": name, "uuid": "st-" + name, "environment_name": "Default", "services": list(services)}
}

func list(objects []object) []any {
	var all []any
	for _, o := range objects {
		all = append(all, o)
	}
	return all
}

// asker is what self is for this container, by its address: that of a bubble's
// network, and of a server on loopback.
func asker(self object) object { return object{"10.0.0.1": self, "127.0.0.1": self} }

// set has the server say that the asker's service is "web" of these containers.
func (m *metadata) set(containers ...object) {
	web := service("web", containers...)
	m.load(object{
		"self":   asker(object{"service": web, "stack": stack("default", web)}),
		"stacks": list([]object{stack("default", web)}),
	})
}

func (m *metadata) setNodes(nodes ...cluster.Node) {
	var containers []object
	for _, n := range nodes {
		containers = append(containers, running(n.Host()))
	}
	m.set(containers...)
}

// load has the server say all this, under a new version, and returns what it
// said before. nil is a file that is gone.
func (m *metadata) load(answers object) (was object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was = m.answers
	m.changes++
	if answers != nil {
		answers = maps.Clone(answers) // which may be loaded once more
		answers["version"] = fmt.Sprintf("%08x-85a2-4d3c-9f0e-d1f0a8b7c6e5", m.changes)
	}
	m.answers = answers
	m.wakeLocked()
	return was
}

// reload has the server read its file anew. What is corrupt changes nothing.
func (m *metadata) reload(file string) {
	var answers object
	if err := json.Unmarshal([]byte(file), &answers); err == nil {
		m.load(answers)
	}
}

func (m *metadata) wakeLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// fail has every request answered by outage from now on, and if at once, those
// that are held as well. nil ends it.
func (m *metadata) fail(outage http.HandlerFunc, atOnce bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outage = outage
	if atOnce {
		m.wakeLocked()
	}
}

// requests returns what was asked since the last call.
func (m *metadata) requests() []request {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.asked = nil }()
	return m.asked
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked = append(m.asked, request{time.Now(), r.URL.RequestURI(), r.Header.Get("Accept")})
	tired, after := m.tired, m.after
	m.mu.Unlock()
	if after != nil {
		defer after(r.URL.Path)
	}
	q := r.URL.Query()
	hold, old := time.Duration(0), q.Get("value")
	if q.Get("wait") == "true" && old != "" && !tired {
		hold = held(q.Get("maxWait"))
	}
	for start := time.Now(); ; {
		m.mu.Lock()
		outage, changed := m.outage, m.changed
		value, ok := find(m.answers, r.RemoteAddr, strings.Split(strings.Trim(r.URL.Path, "/"), "/"))
		m.mu.Unlock()
		switch {
		case outage != nil:
			outage(w, r)
			return
		case hold == 0, ok && fmt.Sprint(value) != old, time.Since(start) > hold:
			respond(w, r, value, ok)
			return
		}
		next := time.NewTimer(tick - time.Since(m.began)%tick)
		select {
		case <-changed:
		case <-next.C:
		case <-r.Context().Done():
			return
		}
		next.Stop()
	}
}

// held is how long the server holds a request, but for the next tick.
func held(maxWait string) time.Duration {
	n, _ := strconv.Atoi(maxWait)
	if n == 0 {
		n = 60
	}
	return min(time.Duration(n)*time.Second, 2*time.Minute)
}

// find follows a path after the version of the format, for the asker at an address
// and port. What is in a list is found by index or name; names may be in any case.
func find(answers object, asker string, path []string) (value any, ok bool) {
	if answers == nil || path[0] != "latest" {
		return nil, false
	}
	host, _, err := net.SplitHostPort(asker)
	if err != nil {
		panic(err)
	}
	answers = maps.Clone(answers)
	selves, _ := answers["self"].(object)
	if answers["self"], ok = selves[host]; !ok {
		delete(answers, "self")
	}
	value = answers
	for _, step := range path[1:] {
		step = strings.ToLower(step)
		switch in := value.(type) {
		case object:
			value, ok = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil {
				i = slices.IndexFunc(in, func(v any) bool { return v.(object)["name"] == step })
			}
			if ok = i >= 0 && i < len(in); ok {
				value = in[i]
			}
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	return value, true
}

// respond answers in JSON if that was asked for, and else with a listing. Both
// are text/plain.
func respond(w http.ResponseWriter, r *http.Request, value any, ok bool) {
	asJSON := strings.Contains(r.Header.Get("Accept"), "application/json")
	if !ok {
		text := "Not found"
		if asJSON {
			text = `{"code":404,"message":"Not found","type":"error"}`
		}
		http.Error(w, text, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if asJSON {
		body, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		_, _ = w.Write(body)
		return
	}
	if o, is := value.(object); is {
		value = strings.Join(slices.Sorted(maps.Keys(o)), "\n") + "\n"
	}
	_, _ = io.WriteString(w, fmt.Sprint(value))
}
