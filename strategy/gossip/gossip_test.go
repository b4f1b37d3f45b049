package gossip_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/gossip"
)

// good is a strategy that is all right.
func good(change func(*gossip.Strategy)) gossip.Strategy {
	s := gossip.Strategy{Secrets: []string{testSecret}}
	change(&s)
	return s
}

// TestValid has what the documentation allows be taken.
func TestValid(t *testing.T) {
	for name, change := range map[string]func(*gossip.Strategy){
		"a secret":            func(*gossip.Strategy) {},
		"two secrets":         func(s *gossip.Strategy) { s.Secrets = []string{testSecret, "another one of these tests"} },
		"insecure":            func(s *gossip.Strategy) { s.Secrets, s.Insecure = nil, true },
		"an IPv4 group":       func(s *gossip.Strategy) { s.Groups = []string{"239.1.2.3"} },
		"groups of each":      func(s *gossip.Strategy) { s.Groups = []string{"ff15::7", "239.1.2.3"} },
		"broadcast":           func(s *gossip.Strategy) { s.BroadcastOnly = true },
		"TTL":                 func(s *gossip.Strategy) { s.TTL = 255 },
		"an absent interface": func(s *gossip.Strategy) { s.Interface = "eth77" },
		"an address":          func(s *gossip.Strategy) { s.Interface = "10.0.0.1 eth1" },
		"a template":          func(s *gossip.Strategy) { s.Interface = `{{ GetPrivateInterfaces | attr "name" }}` },
		"IPv4 only":           func(s *gossip.Strategy) { s.IfAddr = "0.0.0.0" },
		"a template's IfAddr": func(s *gossip.Strategy) { s.IfAddr = "{{ GetPrivateIP }}" },
		"an advertised name":  func(s *gossip.Strategy) { s.Advertise = []cluster.Node{"web@web-1.internal:4370"} },
		"the least interval":  func(s *gossip.Strategy) { s.Interval = 10 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			if err := good(change).Validate(); err != nil {
				t.Errorf("it is refused: %v", err)
			}
		})
	}
}

// TestInvalid has each mistake named by field and value, with what would be
// right.
func TestInvalid(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*gossip.Strategy)
		says   []string
	}{
		"the zero value":          {func(s *gossip.Strategy) { *s = gossip.Strategy{} }, []string{"Secrets is empty", "openssl rand -base64 32", "Insecure"}},
		"secret and insecure":     {func(s *gossip.Strategy) { s.Insecure = true }, []string{"Insecure is true and Secrets has 1"}},
		"a short secret":          {func(s *gossip.Strategy) { s.Secrets = []string{testSecret, "short"} }, []string{"Secrets[1] has 5 bytes", "at least 16"}},
		"a dull secret":           {func(s *gossip.Strategy) { s.Secrets = []string{strings.Repeat("ab", 20)} }, []string{"Secrets[0] has 2 different bytes", "at least 8"}},
		"a long cluster":          {func(s *gossip.Strategy) { s.Cluster = strings.Repeat("c", 256) }, []string{"Cluster has 256 bytes", "at most 255"}},
		"a port below 0":          {func(s *gossip.Strategy) { s.Port = -1 }, []string{"Port is -1", "1 to 65535"}},
		"a port that is too big":  {func(s *gossip.Strategy) { s.Port = 65536 }, []string{"Port is 65536"}},
		"a TTL below 0":           {func(s *gossip.Strategy) { s.TTL = -1 }, []string{"TTL is -1", "1 to 255"}},
		"a TTL that is too big":   {func(s *gossip.Strategy) { s.TTL = 256 }, []string{"TTL is 256"}},
		"a short interval":        {func(s *gossip.Strategy) { s.Interval = time.Millisecond }, []string{"Interval is 1ms", "at least 10ms", "5s"}},
		"no new nodes":            {func(s *gossip.Strategy) { s.MaxNewNodes = -1 }, []string{"MaxNewNodes is -1", "at least 1"}},
		"no nodes at all":         {func(s *gossip.Strategy) { s.MaxNodes = -1 }, []string{"MaxNodes is -1", "at least 1", "500"}},
		"a group that is none":    {func(s *gossip.Strategy) { s.Groups = []string{"10.0.0.1"} }, []string{`Groups[0] is "10.0.0.1"`, gossip.DefaultGroup, gossip.DefaultGroup6}},
		"a group with a zone":     {func(s *gossip.Strategy) { s.Groups = []string{"ff02::1%eth0"} }, []string{`Groups[0] is "ff02::1%eth0"`}},
		"two groups of a family":  {func(s *gossip.Strategy) { s.Groups = []string{"239.1.2.3", "239.1.2.4"} }, []string{"at most one of each address family"}},
		"three groups":            {func(s *gossip.Strategy) { s.Groups = []string{"239.1.2.3", "ff02::7", "239.1.2.4"} }, []string{"at most one of each address family"}},
		"no group":                {func(s *gossip.Strategy) { s.Groups = []string{} }, []string{"Groups is empty"}},
		"groups and broadcast":    {func(s *gossip.Strategy) { s.Groups, s.BroadcastOnly = []string{"239.1.2.3"}, true }, []string{"BroadcastOnly is true and Groups is"}},
		"a broken template":       {func(s *gossip.Strategy) { s.Interface = "{{ Get" }, []string{`Interface is "{{ Get"`, "template"}},
		"an IfAddr that is none":  {func(s *gossip.Strategy) { s.IfAddr = "eth0" }, []string{`IfAddr is "eth0"`, "want an IP address"}},
		"an advertised non-node":  {func(s *gossip.Strategy) { s.Advertise = []cluster.Node{"10.0.0.1"} }, []string{"Advertise[0]", `"10.0.0.1"`}},
		"too many of them":        {func(s *gossip.Strategy) { s.Advertise = make([]cluster.Node, 17) }, []string{"Advertise"}},
		"two mistakes":            {func(s *gossip.Strategy) { s.Port, s.TTL = -1, -1 }, []string{"Port is -1", "TTL is -1"}},
		"the secret isn't shown.": {func(s *gossip.Strategy) { s.Secrets = []string{"hunter2"} }, []string{"Secrets[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := good(tt.change)
			err := s.Validate()
			if err == nil {
				t.Fatal("it is taken for valid")
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error %q shows a secret", err)
			}
			r := cluster.NewRoster("10.0.0.1:4370", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := s.Run(t.Context(), r); ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// TestEqual has Apply leave a strategy alone whose Stats have counted.
func TestEqual(t *testing.T) {
	stats := new(gossip.Stats)
	s := good(func(s *gossip.Strategy) { s.Stats = stats })
	for name, tt := range map[string]struct {
		other cluster.Strategy
		want  bool
	}{
		"the same":       {good(func(s *gossip.Strategy) { s.Stats = stats }), true},
		"other stats":    {good(func(s *gossip.Strategy) { s.Stats = new(gossip.Stats) }), false},
		"other interval": {good(func(s *gossip.Strategy) { s.Stats, s.Interval = stats, time.Second }), false},
		"other secrets":  {good(func(s *gossip.Strategy) { s.Stats, s.Secrets = stats, []string{"another one of these tests"} }), false},
		"another type":   {cluster.Poll(time.Second, nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.Equal(tt.other); got != tt.want {
				t.Errorf("Equal is %t, want %t", got, tt.want)
			}
		})
	}
}

// TestAbsent has a strategy whose interface isn't there fail, and not say that
// there is nobody.
func TestAbsent(t *testing.T) {
	for name, change := range map[string]func(*gossip.Strategy){
		"a name":     func(s *gossip.Strategy) { s.Interface = "nosuchinterface" },
		"an address": func(s *gossip.Strategy) { s.Interface = "192.0.2.99" },
		"IfAddr":     func(s *gossip.Strategy) { s.IfAddr = "192.0.2.99" },
	} {
		t.Run(name, func(t *testing.T) {
			s := onLoopback(t)
			s.Interface = ""
			change(&s)
			failed := make(chan error, 100)
			r := cluster.NewRoster("127.0.0.1:4370", nil, func(c cluster.Change) {
				if c.Kind != cluster.Failed {
					t.Errorf("it tells %s of %q", c.Kind, c.Nodes)
				}
				failed <- c.Err
			})
			done := make(chan error)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { done <- s.Run(ctx, r) }()
			select {
			case err := <-failed:
				if !strings.Contains(err.Error(), "no network interface is up that can be used") || !strings.Contains(err.Error(), s.Interface+s.IfAddr) {
					t.Errorf("it fails with %q, which doesn't say which interface", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it doesn't fail")
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run returns %v", err)
			}
		})
	}
}
