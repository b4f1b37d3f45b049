package static_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

func TestConformance(t *testing.T) {
	strategytest.Test(t, strategytest.Harness{
		New: func(_ testing.TB, nodes ...cluster.Node) strategytest.Source {
			var s static.Strategy
			for _, n := range nodes {
				s.Hosts = append(s.Hosts, string(n))
			}
			return strategytest.Source{Strategy: s}
		},
		Ends:   true,
		Bubble: true,
		Cannot: strategytest.Cannot{Change: "a list doesn't change", Fail: "a list is always there"},
	})
}

// run returns what a strategy tells.
func run(t *testing.T, s static.Strategy, self cluster.Node) (told []cluster.Change) {
	t.Helper()
	r := cluster.NewRoster(self, nil, func(c cluster.Change) { told = append(told, c) })
	if err := s.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return told
}

func TestHosts(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy static.Strategy
		self     cluster.Node
		want     []cluster.Node
	}{
		"the zero value":              {static.Strategy{}, "", nil},
		"only a port":                 {static.Strategy{Port: 4370}, "", nil},
		"addresses":                   {static.Strategy{Hosts: []string{"10.0.0.2", "10.0.0.1"}, Port: 4370}, "", []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370"}},
		"ports of their own":          {static.Strategy{Hosts: []string{"10.0.0.1:1", "10.0.0.1"}, Port: 4370}, "", []cluster.Node{"10.0.0.1:1", "10.0.0.1:4370"}},
		"no default port":             {static.Strategy{Hosts: []string{"10.0.0.1:65535"}}, "", []cluster.Node{"10.0.0.1:65535"}},
		"IPv6 without a port":         {static.Strategy{Hosts: []string{"2001:DB8:0::1"}, Port: 4370}, "", []cluster.Node{"[2001:db8::1]:4370"}},
		"IPv6 in brackets":            {static.Strategy{Hosts: []string{"[2001:db8::1]"}, Port: 4370}, "", []cluster.Node{"[2001:db8::1]:4370"}},
		"IPv6 with a port":            {static.Strategy{Hosts: []string{"[2001:db8::1]:1"}, Port: 4370}, "", []cluster.Node{"[2001:db8::1]:1"}},
		"IPv4 in IPv6":                {static.Strategy{Hosts: []string{"::ffff:10.0.0.1"}, Port: 4370}, "", []cluster.Node{"10.0.0.1:4370"}},
		"host names":                  {static.Strategy{Hosts: []string{"Web.Internal.", "localhost:1"}, Port: 4370}, "", []cluster.Node{"localhost:1", "web.internal:4370"}},
		"nodes with names":            {static.Strategy{Hosts: []string{"b@web-1", "a@10.0.0.1:1", "c@::1"}, Port: 4370}, "", []cluster.Node{"a@10.0.0.1:1", "b@web-1:4370", "c@[::1]:4370"}},
		"one node in several forms":   {static.Strategy{Hosts: []string{"::1", "[::1]:4370", "0:0::1"}, Port: 4370}, "", []cluster.Node{"[::1]:4370"}},
		"this node":                   {static.Strategy{Hosts: []string{"10.0.0.1", "10.0.0.2"}, Port: 4370}, "10.0.0.1:4370", []cluster.Node{"10.0.0.2:4370"}},
		"this node under a name":      {static.Strategy{Hosts: []string{"web@10.0.0.1"}, Port: 4370}, "10.0.0.1:4370", nil},
		"this address, another port":  {static.Strategy{Hosts: []string{"10.0.0.1:1"}, Port: 4370}, "10.0.0.1:4370", []cluster.Node{"10.0.0.1:1"}},
		"this node isn't in the list": {static.Strategy{Hosts: []string{"10.0.0.2"}, Port: 4370}, "10.0.0.1:4370", []cluster.Node{"10.0.0.2:4370"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.strategy.Validate(); err != nil {
				t.Fatal(err)
			}
			told := run(t, tt.strategy, tt.self)
			if len(told) != 1 || told[0].Kind != cluster.Replaced || !slices.Equal(told[0].Nodes, tt.want) {
				t.Errorf("it tells %v, want one Replace of %q", told, tt.want)
			}
		})
	}
}

// TestValidate has each mistake named by field, index and value, with what
// would be right.
func TestValidate(t *testing.T) {
	const whole = `such as "10.0.0.1:4370"`
	hosts := func(port int, hosts ...string) static.Strategy { return static.Strategy{Hosts: hosts, Port: port} }
	for name, tt := range map[string]struct {
		strategy static.Strategy
		says     []string
	}{
		"no port":                {hosts(0, "10.0.0.1:1", "web:1", "web"), []string{`Hosts[2] is "web"`, "has no port; set Port", whole}},
		"no port after a name":   {hosts(0, "a@web"), []string{`Hosts[0] is "a@web"`, "has no port; set Port"}},
		"no port after IPv6":     {hosts(0, "2001:db8::1"), []string{`Hosts[0] is "2001:db8::1"`, "has no port; set Port"}},
		"an empty port":          {hosts(4370, "web:"), []string{`Hosts[0] is "web:"`, `port ""`, "1 to 65535", whole}},
		"port 0":                 {hosts(4370, "web:0"), []string{`Hosts[0] is "web:0": port "0" is not a number from 1 to 65535; write it like`}},
		"a port that is too big": {hosts(4370, "web:65536"), []string{`Hosts[0] is "web:65536"`, `port "65536"`, "1 to 65535"}},
		"a port below 0":         {hosts(4370, "web:-1"), []string{`Hosts[0] is "web:-1"`, `port "-1"`, "1 to 65535"}},
		"a port with a name":     {hosts(4370, "web:http"), []string{`Hosts[0] is "web:http"`, `port "http"`, "1 to 65535"}},
		"two ports":              {hosts(4370, "web:1:2"), []string{`Hosts[0] is "web:1:2": too many colons in address; want host:port`, whole}},
		"nothing":                {hosts(4370, "web", ""), []string{`Hosts[1] is ""`, "empty", whole}},
		"only a port":            {hosts(4370, ":4370"), []string{`Hosts[0] is ":4370"`, "empty", whole}},
		"an empty name":          {hosts(4370, "@web"), []string{`Hosts[0] is "@web"`, "the name before the @ is empty", whole}},
		"a space":                {hosts(4370, "web 1"), []string{`Hosts[0] is "web 1"`, "' '", whole}},
		"an URL":                 {hosts(4370, "http://web"), []string{`Hosts[0] is "http://web"`, whole}},
		"a network":              {hosts(4370, "10.0.0.0/8"), []string{`Hosts[0] is "10.0.0.0/8"`, "'/'", whole}},
		"half an address":        {hosts(4370, "10.0.0"), []string{`Hosts[0] is "10.0.0"`, "neither an IP address nor a name", whole}},
		"any address":            {hosts(4370, "0.0.0.0"), []string{`Hosts[0] is "0.0.0.0"`, "not the address of one node", whole}},
		"a multicast address":    {hosts(4370, "ff02::1"), []string{`Hosts[0] is "ff02::1"`, "not the address of one node", whole}},
		"Port too big":           {hosts(65536, "web"), []string{"Port is 65536", "want 1 to 65535, or 0"}},
		"Port below 0":           {hosts(-1), []string{"Port is -1", "want 1 to 65535, or 0"}},
		"several": {
			hosts(70000, "web:0", "web", "a b"),
			[]string{"static: Port is 70000", `; static: Hosts[0] is "web:0"`, `; static: Hosts[2] is "a b"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.strategy.Validate()
			if err == nil {
				t.Fatal("it is taken for valid")
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "transport: node") {
				t.Errorf("the error is %q, want one line, in which the parser doesn't quote the host again", err)
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.Run(t.Context(), r); ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// TestStartRefuses has a mistake stop a program at its start, and not later.
func TestStartRefuses(t *testing.T) {
	_, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: static.Strategy{Hosts: []string{"web"}}}})
	if err == nil || !strings.Contains(err.Error(), `topology "web"`) || !strings.Contains(err.Error(), `Hosts[0] is "web"`) {
		t.Errorf("Start returns %v, want an error that names the topology and the host", err)
	}
}
