package rancher

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

// names are those of containers.
func names(containers []container) (names []string) {
	for _, c := range containers {
		names = append(names, c.Name)
	}
	return names
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want []string
		says string // of the error
	}{
		"a service":                    {`{"name":"web","containers":[{"name":"a","primary_ip":"10.0.0.1"},{"name":"b","ips":[]}]}`, []string{"a", "b"}, ""},
		"a service without containers": {`{"containers":[]}`, nil, ""},
		"and null instead":             {`{"containers":null}`, nil, ""},
		"nulls":                        {`{"containers":[{"name":"a","primary_ip":null,"ips":null,"state":null,"health_state":null}]}`, []string{"a"}, ""},
		"a stack":                      {`{"services":[{"containers":[{"name":"a","ips":[]}]},{"containers":null},{"containers":[{"name":"b","ips":[]}]}]}`, []string{"a", "b"}, ""},
		"a stack without services":     {`{"services":null}`, nil, ""},
		"a stack of the oldest format": {`{"services":["web"]}`, nil, "the stack's services"},
		"the oldest format":            {`{"containers":["default-web-1"]}`, nil, "the containers"},
		"no service in a stack":        {`{"services":[{"containers":[]},{}]}`, nil, "service 1"},
		"neither":                      {`{"name":"web"}`, nil, "neither a service nor a stack"},
		"nothing":                      {`null`, nil, "neither a service nor a stack"},
		"a list":                       {`[]`, nil, "cannot unmarshal array"},
		"containers that are none":     {`{"containers":{}}`, nil, "the containers"},
		"an address that is none":      {`{"containers":[{"primary_ip":{}}]}`, nil, "primary_ip"},
		"a container that is null":     {`{"containers":[{"name":"a","ips":[]},null]}`, nil, `neither primary_ip nor ips: "null"`},
		"one without anything":         {`{"containers":[{}]}`, nil, "no name"},
		"one without a name":           {`{"containers":[{"primary_ip":"10.0.0.1","ips":null}]}`, nil, "no name"},
		"one whose name is null":       {`{"containers":[{"name":null,"ips":null}]}`, nil, "no name"},
		"one of another API":           {`{"containers":[{"id":"1i17","name":"a","primaryIpAddress":"10.0.0.2"}]}`, nil, "neither primary_ip nor ips"},
		"one in a stack":               {`{"services":[{"containers":[null]}]}`, nil, "the stack's service 0"},
		"more than one":                {`{"containers":[]}{"containers":[]}`, nil, "after top-level value"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse([]byte(tt.body))
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("the error is %v, want %q", err, tt.says)
			}
			if !slices.Equal(names(got), tt.want) {
				t.Errorf("it has %q, want %q", names(got), tt.want)
			}
		})
	}
}

// FuzzParse has only what is a whole JSON value give containers, all nodes be
// canonical, and no container be two.
func FuzzParse(f *testing.F) {
	for _, seed := range []any{
		service("web", running("10.0.0.1"), running("2001:db8::1", "state", "stopping"), running("10.0.0.3", "primary_ip", nil)),
		stack("default", service("web"), service("db", running("10.0.0.4", "health_state", "unhealthy"))),
		object{"containers": []any{nil, "a", 17}},
		"6b2f9c1e",
	} {
		body, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(body[:len(body)/2])
	}
	s := Strategy{Basename: "app"}.withDefaults(self)
	f.Fuzz(func(t *testing.T, body []byte) {
		containers, err := parse(body)
		if err != nil {
			if containers != nil {
				t.Fatalf("there are %d containers and the error %v", len(containers), err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("it is no JSON")
		}
		nodes, keep, err := s.nodes(containers)
		bad := 0
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			bad = len(joined.Unwrap())
		}
		if len(nodes)+len(keep)+bad > len(containers) {
			t.Fatalf("of %d containers %d count, %d are kept and %d bad", len(containers), len(nodes), len(keep), bad)
		}
		for _, n := range append(nodes, keep...) {
			if c, err := transport.ParseNode(string(n)); err != nil || c != n || n.Name() != "app" || n.Port() != 4370 {
				t.Fatalf("%q is not a canonical node: %q, %v", n, c, err)
			}
		}
		r := cluster.NewRoster(self, nil, func(c cluster.Change) {
			if c.Kind != cluster.Replaced {
				t.Fatalf("the roster says %+v", c)
			}
		})
		r.Replace(nodes, keep...)
	})
}

// TestExcerpt has a long answer be cut, and never within a letter.
func TestExcerpt(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"empty":       {"", `""`},
		"short":       {"a\n", `"a\n"`},
		"as long":     {strings.Repeat("a", maxExcerpt), `"` + strings.Repeat("a", maxExcerpt) + `"`},
		"too long":    {strings.Repeat("a", maxExcerpt+1), `"` + strings.Repeat("a", maxExcerpt) + `"…`},
		"in a letter": {strings.Repeat("a", maxExcerpt-1) + "ä", `"` + strings.Repeat("a", maxExcerpt-1) + `"…`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := excerpt([]byte(tt.body)); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
			if err := unexpected(new(url.URL), []byte(tt.body), errors.ErrUnsupported); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%v doesn't wrap its cause", err)
			}
		})
	}
}
