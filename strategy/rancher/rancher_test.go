package rancher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		"self":   object{"service": web, "stack": own},
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
		"no state counts":                   {Strategy{States: []string{}}, c("running", ""), keeps},
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
				"too large":              {"more than 8388608 bytes"},
				"a redirect":             {"302 Found to /login"},
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

// TestValidate has each mistake named by field and value, with what would be
// right.
func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy Strategy
		says     []string // none: it is right
	}{
		"the zero value":       {Strategy{}, nil},
		"everything":           {Strategy{BaseURL: "https://10.0.0.9:8080/2016-07-29/", Service: "web-1_a", Stack: "Shop", Basename: "app", Port: 65535, States: []string{"running"}, Health: []string{""}, Interval: 1, Client: &http.Client{}}, nil},
		"a path":               {Strategy{Path: "self/stack"}, nil},
		"no scheme":            {Strategy{BaseURL: "rancher-metadata/latest"}, []string{`BaseURL is "rancher-metadata/latest"`, "http://rancher-metadata/latest"}},
		"another scheme":       {Strategy{BaseURL: "ftp://rancher-metadata/latest"}, []string{`BaseURL is "ftp:`}},
		"no host":              {Strategy{BaseURL: "http:///latest"}, []string{`BaseURL is "http:///latest"`}},
		"a query":              {Strategy{BaseURL: "http://h/latest?a=b"}, []string{`BaseURL is "http://h/latest?a=b"`}},
		"no URL":               {Strategy{BaseURL: "http://h:port/"}, []string{"BaseURL", `":port"`, "want such as"}},
		"a path and a service": {Strategy{Path: "self/stack", Service: "web"}, []string{`Path is "self/stack"`, `Service "web"`}},
		"a path and a stack":   {Strategy{Path: "self/stack", Stack: "shop"}, []string{`Stack "shop"`}},
		"a path as a service":  {Strategy{Service: "shop/web"}, []string{`Service is "shop/web"`, "want a name"}},
		"an index":             {Strategy{Stack: "17"}, []string{`Stack is "17"`, "one is a letter"}},
		"dots":                 {Strategy{Service: ".."}, []string{`Service is ".."`}},
		"a bad name":           {Strategy{Basename: "a@b"}, []string{`Basename is "a@b"`}},
		"a port below 0":       {Strategy{Port: -1}, []string{"Port is -1", "1 to 65535"}},
		"a port too big":       {Strategy{Port: 65536}, []string{"Port is 65536"}},
		"an interval below 0":  {Strategy{Interval: -time.Second}, []string{"Interval is -1s", "0 for 5s"}},
		"several":              {Strategy{Port: -1, Interval: -1, Service: "?"}, []string{"Port is -1", "Interval is -1ns", `Service is "?"`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.strategy.Validate()
			if len(tt.says) == 0 {
				if err != nil {
					t.Errorf("it is refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is taken for valid")
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.Run(t.Context(), r); fmt.Sprint(ran) != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// TestNoPassword has an error not show one.
func TestNoPassword(t *testing.T) {
	for _, base := range []string{"http://me:hush@127.0.0.1:1/latest", "ftp://me:hush@h"} {
		s := Strategy{BaseURL: base, Interval: time.Hour}
		err := s.Validate()
		if err == nil {
			err = first(t, s, "").Err
		}
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("of %s the error is %v, want one without the password", base, err)
		}
	}
}

func TestEqual(t *testing.T) {
	one, two := &http.Client{}, &http.Client{}
	for name, tt := range map[string]struct {
		a, b Strategy
		want bool
	}{
		"the zero value":  {Strategy{}, Strategy{}, true},
		"the same":        {Strategy{States: []string{"running"}, Client: one}, Strategy{States: []string{"running"}, Client: one}, true},
		"another client":  {Strategy{Client: one}, Strategy{Client: two}, false},
		"another service": {Strategy{Service: "a"}, Strategy{Service: "b"}, false},
		"other states":    {Strategy{}, Strategy{States: []string{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.a.Equal(tt.b); got != tt.want {
				t.Errorf("it is %t, want %t", got, tt.want)
			}
		})
	}
	if (Strategy{}).Equal(cluster.Poll(1, nil)) {
		t.Error("it equals a strategy of another kind")
	}
}
