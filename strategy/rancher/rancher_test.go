package rancher

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/libcluster-go/cluster"
)

// first runs a strategy until it has told once and returns that.
func first(t *testing.T, s Strategy, self cluster.Node) cluster.Change {
	t.Helper()
	return next(t, start(t, s, self))
}

// TestPaths has services and stacks found by name, in any case.
func TestPaths(t *testing.T) {
	t.Parallel()
	m := newMetadata()
	web, db := service("web", running("10.0.0.2")), service("db", running("10.0.0.3"), running("10.0.0.4"))
	other := stack("shop", service("db", running("10.0.0.5")), service("none"))
	own := stack("default", web, db)
	m.load(object{
		"self":   asker(object{"service": web, "stack": own}),
		"stacks": list([]object{other, own, stack("empty"), {"name": "none", "services": nil}}),
	})
	server := httptest.NewServer(m)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	for name, tt := range map[string]struct {
		strategy Strategy
		want     []cluster.Node
	}{
		"this container's service":     {Strategy{}, []cluster.Node{a}},
		"another service":              {Strategy{Service: "db"}, []cluster.Node{"10.0.0.3:4370", "10.0.0.4:4370"}},
		"a service of another stack":   {Strategy{Service: "DB", Stack: "Shop"}, []cluster.Node{"10.0.0.5:4370"}},
		"a service without containers": {Strategy{Service: "none", Stack: "shop"}, nil},
		"another stack":                {Strategy{Stack: "shop"}, []cluster.Node{"10.0.0.5:4370"}},
		"an empty stack":               {Strategy{Stack: "empty"}, nil},
		"a stack without a list":       {Strategy{Stack: "none"}, nil},
		"a path":                       {Strategy{Path: "self/stack"}, []cluster.Node{"10.0.0.2:4370", "10.0.0.3:4370", "10.0.0.4:4370"}},
		"a path with slashes":          {Strategy{Path: "/self/service/"}, []cluster.Node{a}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.strategy.BaseURL = server.URL + "/latest/"
			if c := first(t, tt.strategy, self); c.Kind != cluster.Replaced || !slices.Equal(c.Nodes, tt.want) {
				t.Errorf("it tells %+v, want a Replace of %q", c, tt.want)
			}
		})
	}
}

// TestCounts is which containers count and which are kept, by state and health.
func TestCounts(t *testing.T) {
	const counts, keeps, leaves = "counts", "is kept", "is left out"
	all := Strategy{States: []string{"running", "stopped"}, Health: []string{"", "initializing"}}
	c := func(state, health string) container {
		return container{PrimaryIP: "10.0.0.2", State: state, Health: health}
	}
	for name, tt := range map[string]struct {
		strategy Strategy
		is       container
		want     string
	}{
		"it runs, unchecked":                {Strategy{}, c("running", ""), counts},
		"it runs, healthy":                  {Strategy{}, c("running", "healthy"), counts},
		"it starts":                         {Strategy{}, c("starting", ""), counts},
		"no state is told":                  {Strategy{}, c("", ""), counts},
		"it runs, unhealthy":                {Strategy{}, c("running", "unhealthy"), keeps},
		"it runs, initializing":             {Strategy{}, c("running", "initializing"), keeps},
		"it runs, in an unknown health":     {Strategy{}, c("running", "updating-healthy"), keeps},
		"it starts, initializing":           {Strategy{}, c("starting", "initializing"), keeps},
		"it stops":                          {Strategy{}, c("stopping", ""), keeps},
		"it stops, healthy":                 {Strategy{}, c("stopping", "healthy"), keeps},
		"it restarts":                       {Strategy{}, c("restarting", ""), keeps},
		"an unknown state":                  {Strategy{}, c("levitating", "healthy"), keeps},
		"it is stopped":                     {Strategy{}, c("stopped", ""), leaves},
		"it is stopped, but healthy":        {Strategy{}, c("stopped", "healthy"), leaves},
		"it is removed":                     {Strategy{}, c("removed", ""), leaves},
		"it is purged":                      {Strategy{}, c("purged", ""), leaves},
		"it is broken":                      {Strategy{}, c("error", ""), leaves},
		"it has no address":                 {Strategy{}, container{State: "running"}, leaves},
		"it has an empty list of addresses": {Strategy{}, container{State: "running", IPs: []string{}}, leaves},
		"it has no first address":           {Strategy{}, container{State: "running", IPs: []string{"10.0.0.2"}}, counts},
		"a state of one's own":              {all, c("stopped", ""), counts},
		"a health of one's own":             {all, c("running", "initializing"), counts},
		"not a state of one's own":          {all, c("starting", ""), keeps},
		"not a health of one's own":         {all, c("running", "healthy"), keeps},
		"its unhealthy, and stopped is":     {all, c("stopped", "unhealthy"), keeps},
		"a bad address, but it is stopped":  {Strategy{}, container{PrimaryIP: "?", State: "stopped"}, leaves},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, keep, err := tt.strategy.withDefaults(self).nodes([]container{tt.is})
			if err != nil {
				t.Fatal(err)
			}
			got := leaves
			switch {
			case slices.Equal(nodes, []cluster.Node{a}) && keep == nil:
				got = counts
			case slices.Equal(keep, []cluster.Node{a}) && nodes == nil:
				got = keeps
			}
			if got != tt.want || got == leaves && (nodes != nil || keep != nil) {
				t.Errorf("it %s (%q, %q), want that it %s", got, nodes, keep, tt.want)
			}
		})
	}
}

// TestKeep has what doesn't count, but may run, be passed on as what to keep.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		m.set(running("10.0.0.1"), running("10.0.0.2"), running("10.0.0.3", "health_state", "initializing"),
			running("10.0.0.4", "state", "stopped"), running("10.0.0.5", "primary_ip", nil, "ips", []any{}))
		c := first(t, s, self)
		if c.Kind != cluster.Replaced || !slices.Equal(c.Nodes, []cluster.Node{a}) || !slices.Equal(c.Keep, []cluster.Node{b}) {
			t.Errorf("it tells %+v, want a Replace of %s that keeps %s", c, a, b)
		}
	})
}

// TestNodes is how a container's address becomes a node.
func TestNodes(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy Strategy
		self     cluster.Node
		addr     string
		want     cluster.Node
	}{
		"the port of this node":  {Strategy{}, "10.0.0.1:99", "10.0.0.2", "10.0.0.2:99"},
		"this node isn't known":  {Strategy{}, "", "10.0.0.2", "10.0.0.2:4370"},
		"a port":                 {Strategy{Port: 17}, self, "10.0.0.2", "10.0.0.2:17"},
		"a name":                 {Strategy{Basename: "app"}, self, "10.0.0.2", "app@10.0.0.2:4370"},
		"IPv6":                   {Strategy{}, self, "2001:DB8:0::2", "[2001:db8::2]:4370"},
		"IPv6 with a name":       {Strategy{Basename: "app"}, self, "2001:db8::2", "app@[2001:db8::2]:4370"},
		"IPv4 in IPv6":           {Strategy{}, self, "::ffff:10.0.0.2", "10.0.0.2:4370"},
		"a host name":            {Strategy{}, self, "web.internal", ""},
		"an address with a port": {Strategy{}, self, "10.0.0.2:80", ""},
		"a network":              {Strategy{}, self, "10.0.0.2/16", ""},
		"any address":            {Strategy{}, self, "0.0.0.0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.strategy.withDefaults(tt.self)
			nodes, _, err := s.nodes([]container{{Name: "web-1", PrimaryIP: tt.addr, State: "running"}})
			if tt.want == "" {
				if err == nil || !strings.Contains(err.Error(), `container "web-1"`) || !strings.Contains(err.Error(), tt.addr) {
					t.Errorf("the error is %v, want one that names the container and the address", err)
				}
				return
			}
			if err != nil || !slices.Equal(nodes, []cluster.Node{tt.want}) {
				t.Errorf("it is %q, %v; want %s", nodes, err, tt.want)
			}
		})
	}
}

// TestBadAddress has the containers beside one with a bad address be connected,
// and none be given up.
func TestBadAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		m.set(running("10.0.0.2"), running("web.internal"))
		told := start(t, s, self)
		if c := next(t, told); c.Kind != cluster.Added || !slices.Equal(c.Nodes, []cluster.Node{a}) {
			t.Errorf("it tells %+v, want an Add of %s", c, a)
		}
		if c := next(t, told); c.Kind != cluster.Failed || !strings.Contains(c.Err.Error(), `"web.internal"`) {
			t.Errorf("it tells %+v, want a Fail that says which address", c)
		}
		time.Sleep(time.Hour)
		silent(t, told) // it is told again when it changes
		m.setNodes(a, b)
		expect(t, told, a, b)
	})
}

// TestFailures has each say what was asked and what was answered.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, outage := range outages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(outage)
			t.Cleanup(server.Close)
			c := first(t, Strategy{BaseURL: server.URL + "/latest", Interval: time.Hour}, "")
			says := map[string][]string{
				"500":                    {"500 Internal Server Error", `"Error serializing to JSON"`},
				"503":                    {"503 Service Unavailable", "<html>"},
				"403":                    {"403 Forbidden", `"Forbidden"`},
				"204":                    {"204 No Content"},
				"HTML":                   {`"text/html"; want JSON`, `"<html>Welcome</html>"`},
				"a listing":              {"invalid character", `"containers/\nname\n"`},
				"JSON that is no answer": {"cannot unmarshal array", "web"},
				"JSON that breaks off":   {"unexpected end of JSON", `{\"name\":"`},
				"empty":                  {"unexpected end of JSON", `""`},
				"null":                   {"there is no version", `"null"`},
				"a version too long":     {"the version has 201 bytes", `"\"vvv`},
				"a redirect":             {`302 Found to "/login"`},
				"a truncated body":       {"breaks off after 15 bytes", "unexpected EOF"},
				"no answer":              {"EOF"},
			}[name]
			if says == nil {
				t.Fatal("it isn't known what that says")
			}
			for _, say := range append(says, "rancher: ", server.URL+"/latest/version") {
				if c.Kind != cluster.Failed || !strings.Contains(c.Err.Error(), say) {
					t.Errorf("it tells %s %v, want a Fail with %q in it", c.Kind, c.Err, say)
				}
			}
		})
	}
}

// TestTooLarge has an answer of more than there is room for be refused. In a
// bubble, no timeout comes first.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		s.Interval = time.Hour
		m.fail(says(200, "text/plain", `"`+strings.Repeat(" ", maxBody)+`"`), true)
		c := first(t, s, self)
		if c.Kind != cluster.Failed || !strings.Contains(c.Err.Error(), "more than 8388608 bytes") {
			t.Errorf("it tells %s %v, want a Fail that says how much there is room for", c.Kind, c.Err)
		}
	})
}

// TestLongErrors has an error say no more than one can read, of whatever length
// the answer is.
func TestLongErrors(t *testing.T) {
	long := strings.Repeat("ä", 1<<16)
	var many []any
	for range 1000 {
		many = append(many, running("10.0.0.2", "primary_ip", "web.internal"))
	}
	web := func(containers ...any) object {
		return object{"self": asker(object{"service": object{"containers": containers}})}
	}
	for name, tt := range map[string]struct {
		outage  http.HandlerFunc
		answers object
		says    string
	}{
		"a version":          {says(200, "text/plain", `"`+long+`"`), nil, "the version has 131072 bytes"},
		"no version":         {says(200, "text/plain", long), nil, "invalid character"},
		"a content type":     {says(200, "text/html; a="+strings.Repeat("a", 100000), ""), nil, "want JSON"},
		"an address":         {nil, web(running("10.0.0.2", "primary_ip", long)), "unable to parse IP"},
		"a zone":             {nil, web(running("fe80::1", "primary_ip", "fe80::1%"+long)), "zone"},
		"a container's name": {nil, web(running("10.0.0.2", "name", long, "primary_ip", "?")), "container"},
		"no container":       {nil, web(object{"id": long}), "neither primary_ip nor ips"},
		"many containers":    {nil, web(many...), `"web.internal"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				m.load(tt.answers)
				m.fail(tt.outage, true)
				err := first(t, s, self).Err
				if err == nil || len(err.Error()) > maxError || !utf8.ValidString(err.Error()) {
					t.Fatalf("the error has %d bytes, want at most %d, and valid ones", len(fmt.Sprint(err)), maxError)
				}
				if !strings.Contains(err.Error(), tt.says) {
					t.Errorf("the error is %v, want %q in it", err, tt.says)
				}
			})
		})
	}
}
