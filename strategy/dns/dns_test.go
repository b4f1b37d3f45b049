package dns

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestValidate has each mistake named by field and value, with what would be
// right, and Run return it.
func TestValidate(t *testing.T) {
	good := func(change func(*Strategy)) Strategy {
		s := Strategy{Queries: []string{"web.internal."}, Port: 4370}
		change(&s)
		return s
	}
	query := func(q string) Strategy { return good(func(s *Strategy) { s.Queries = []string{"web", q} }) }
	for name, tt := range map[string]struct {
		strategy Strategy
		says     string // empty: it is right
	}{
		"queries and a port": {good(func(*Strategy) {}), ""},
		"all fields": {good(func(s *Strategy) {
			s.Basename, s.Network, s.Authoritative, s.Servers = "web", "ip4", true, []string{"10.0.0.53", "[::1]:1053", "dns.internal:53"}
			s.Interval, s.Timeout, s.Attempts = time.Second, time.Second, 1
		}), ""},
		"SRV":                     {Strategy{Queries: []string{"_cluster._tcp.web"}, SRV: true, Names: true}, ""},
		"a resolver":              {Strategy{Queries: []string{"web"}, Resolver: func(context.Context, string) ([]string, error) { return nil, nil }}, ""},
		"the zero value":          {Strategy{}, `Queries is empty; want at least one name, such as "web.internal."`},
		"no port":                 {good(func(s *Strategy) { s.Port = 0 }), "Port is 0; want that of the nodes, 1 to 65535, or SRV"},
		"a port below 0":          {good(func(s *Strategy) { s.Port = -1 }), "Port is -1; want"},
		"a port too big":          {good(func(s *Strategy) { s.Port = 65536 }), "Port is 65536; want"},
		"a port beside SRV":       {good(func(s *Strategy) { s.SRV = true }), "Port is 4370 and SRV is true, whose records have ports of their own"},
		"names without SRV":       {good(func(s *Strategy) { s.Names = true }), "Names is true and SRV is false"},
		"a bad base name":         {good(func(s *Strategy) { s.Basename = "a b" }), `Basename is "a b": `},
		"another network":         {good(func(s *Strategy) { s.Network = "tcp" }), `Network is "tcp"; want "ip4", "ip6", or "ip" or nothing for both`},
		"an empty query":          {query(""), `Queries[1] is "", which is no name; want a name, such as "web.internal."`},
		"the root":                {query("."), `Queries[1] is "."`},
		"an address":              {query("10.0.0.1"), `Queries[1] is "10.0.0.1", which is an address already`},
		"an IPv6 address":         {query("fd00::1"), `Queries[1] is "fd00::1", which is an address already`},
		"a query with a port":     {query("web:4370"), `Queries[1] is "web:4370", which has a colon (for a port, set Port, or SRV)`},
		"a query with a space":    {query("web 1"), `Queries[1] is "web 1", which holds what no name does`},
		"an URL":                  {query("http//web"), `Queries[1] is "http//web", which holds what no name does`},
		"an international name":   {query("wéb"), `an xn-- form`},
		"an empty label":          {query("web..internal"), `Queries[1] is "web..internal", whose labels`},
		"a long label":            {query(strings.Repeat("a", 64)), "1 to 63 bytes"},
		"a long name":             {query(strings.Repeat("a.", 128) + "a"), "255 together"},
		"no servers":              {good(func(s *Strategy) { s.Servers = []string{} }), `Servers is empty; want at least one, such as "10.0.0.53", or nil`},
		"a bad server":            {good(func(s *Strategy) { s.Servers = []string{"10.0.0.53", "10.0.0.53:dns"} }), `Servers[1] is "10.0.0.53:dns": `},
		"a server with a name":    {good(func(s *Strategy) { s.Servers = []string{"a@10.0.0.53"} }), `Servers[0] is "a@10.0.0.53": it has a name before an @`},
		"servers and resolv.conf": {good(func(s *Strategy) { s.Servers, s.ResolvConf = []string{"10.0.0.53"}, "/x" }), `Servers is ["10.0.0.53"] and ResolvConf is "/x"; set one of the two`},
		"a resolver and servers": {good(func(s *Strategy) {
			s.Servers, s.Resolver = []string{"10.0.0.53"}, func(context.Context, string) ([]string, error) { return nil, nil }
		}), "Resolver is set beside Servers"},
		"a negative interval":          {good(func(s *Strategy) { s.Interval = -time.Second }), "Interval is -1s; want at least 10ms, such as 5*time.Second, or 0 for 5s"},
		"a negative timeout":           {good(func(s *Strategy) { s.Timeout = -time.Second }), "Timeout is -1s; want at least 10ms, such as 2*time.Second, or 0 for resolv.conf's"},
		"an interval without its unit": {good(func(s *Strategy) { s.Interval = 5 }), "Interval is 5ns; want at least 10ms, such as 5*time.Second, or 0 for 5s"},
		"the least interval":           {good(func(s *Strategy) { s.Interval = 10 * time.Millisecond }), ""},
		"a timeout without its unit":   {good(func(s *Strategy) { s.Timeout = 5 }), "Timeout is 5ns; want at least 10ms"},
		"names of one family":          {Strategy{Queries: []string{"web"}, SRV: true, Names: true, Network: "ip6"}, `Network is "ip6" and Names is true (Kubernetes: SRV), whose hosts the transport resolves, in both families; leave it empty`},
		"names of both families":       {Strategy{Queries: []string{"web"}, SRV: true, Names: true, Network: "ip"}, ""},
		"SRV of one family":            {Strategy{Queries: []string{"web"}, SRV: true, Network: "ip6"}, ""},
		"negative attempts":            {good(func(s *Strategy) { s.Attempts = -1 }), "Attempts is -1; want at least 1, or 0"},
		"several":                      {Strategy{Queries: []string{""}, Interval: -1}, "Interval is -1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.strategy.Validate()
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("the error is %v, want %q in that", err, tt.says)
			}
			if err == nil {
				return
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.Run(t.Context(), r); ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}
