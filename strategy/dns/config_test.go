package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestResolvConf(t *testing.T) {
	const server = "nameserver 10.0.0.53\n"
	plain := func(change func(*config)) config {
		c := config{servers: []string{"10.0.0.53:53"}, ndots: 1, timeout: 5 * time.Second, attempts: 2}
		if change != nil {
			change(&c)
		}
		return c
	}
	for name, tt := range map[string]struct {
		text string
		want config
	}{
		"a server":        {server, plain(nil)},
		"several servers": {server + "nameserver fd00::53\nnameserver fe80::1%eth0\n", plain(func(c *config) { c.servers = append(c.servers, "[fd00::53]:53", "[fe80::1%eth0]:53") })},
		"comments":        {"# a\n; b\n" + server + "\n", plain(nil)},
		"CRLF":            {"nameserver 10.0.0.53\r\n", plain(nil)},
		"no line end":     {"nameserver 10.0.0.53", plain(nil)},
		"search":          {server + "search a.internal b.internal.\n", plain(func(c *config) { c.search = []string{"a.internal", "b.internal"} })},
		"the last search": {server + "search a\nsearch b\n", plain(func(c *config) { c.search = []string{"b"} })},
		"search the root": {server + "search .\n", plain(nil)},
		"domain":          {server + "domain a.internal\n", plain(func(c *config) { c.search = []string{"a.internal"} })},
		"Kubernetes'": {server + "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", plain(func(c *config) {
			c.ndots, c.search = 5, []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}
		})},
		"Docker's":         {"nameserver 127.0.0.11\noptions ndots:0\n", plain(func(c *config) { c.servers, c.ndots = []string{"127.0.0.11:53"}, 0 })},
		"timeout":          {server + "options timeout:2\n", plain(func(c *config) { c.timeout = 2 * time.Second })},
		"timeout too long": {server + "options timeout:3600\n", plain(func(c *config) { c.timeout = 30 * time.Second })},
		"attempts":         {server + "options attempts:3\n", plain(func(c *config) { c.attempts = 3 })},
		"too many":         {server + "options attempts:99\n", plain(func(c *config) { c.attempts = 5 })},
		"rotate":           {server + "options edns0 rotate trust-ad\n", plain(func(c *config) { c.rotate = true })},
		"no rotate":        {server + "# options rotate\n", plain(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Strategy{ResolvConf: path}.config()
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v and %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// TestNoServer has what is wrong with resolv.conf be a failure that names it.
func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "search": "search a\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, say := range map[string]string{"gone": "no such file", "empty": "it names no server; set Servers", "search": "it names no server"} {
		path := filepath.Join(dir, name)
		got, err := told(t, Strategy{Queries: []string{"web."}, Port: 4370, ResolvConf: path, Authoritative: true}, (&fake{}).exchange)
		if !slices.Equal(got, []string{"Fail"}) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: the roster is told %q with %v, want a Fail with %q", name, got, err, say)
		}
	}
}

// TestOverrides has fields go before what resolv.conf says.
func TestOverrides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 10.0.0.53\noptions timeout:9 attempts:4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Strategy{ResolvConf: path, Timeout: time.Second, Attempts: 1}.config()
	if err != nil || c.timeout != time.Second || c.attempts != 1 {
		t.Errorf("got %+v and %v", c, err)
	}
	c, err = Strategy{Servers: []string{"10.0.0.53", "127.0.0.1:8600", "fd00::53", "[fd00::53]:1053", "dns.internal"}}.config()
	want := config{timeout: 5 * time.Second, attempts: 2, servers: []string{"10.0.0.53:53", "127.0.0.1:8600", "[fd00::53]:53", "[fd00::53]:1053", "dns.internal:53"}}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v and %v, want %+v", c, err, want)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 60)
	for name, tt := range map[string]struct {
		query  string
		ndots  int
		search []string
		want   []string
	}{
		"complete":             {"web.internal.", 5, []string{"a"}, []string{"web.internal."}},
		"no search list":       {"web", 1, nil, []string{"web."}},
		"too few dots":         {"web", 1, []string{"a", "b.c"}, []string{"web.a.", "web.b.c.", "web."}},
		"enough dots":          {"web.internal", 1, []string{"a", "b"}, []string{"web.internal.", "web.internal.a.", "web.internal.b."}},
		"too few for many":     {"web.a.svc", 5, []string{"cluster.local"}, []string{"web.a.svc.cluster.local.", "web.a.svc."}},
		"none needed":          {"web", 0, []string{"a"}, []string{"web.", "web.a."}},
		"a name that is none":  {long, 1, []string{long + "." + long + "." + long + "." + long, "a"}, []string{long + ".a.", long + "."}},
		"Swarm's, in Docker's": {"tasks.web", 0, nil, []string{"tasks.web."}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (config{ndots: tt.ndots, search: tt.search}).names(tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// conf writes a resolv.conf and returns a strategy that uses it.
func conf(t *testing.T, text string) Strategy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Strategy{Queries: []string{"web"}, Port: 4370, Network: "ip4", ResolvConf: path, Authoritative: true}
}

// TestAsked has servers and names be asked in the right order.
func TestAsked(t *testing.T) {
	const two, search = "nameserver 10.0.0.1\nnameserver 10.0.0.2\n", "search a b\n"
	for name, tt := range map[string]struct {
		conf  string
		says  map[string]string
		asked []string
		told  string
	}{
		"the first server": {
			two,
			map[string]string{"web. A": a2},
			[]string{"udp 10.0.0.1:53 web. A"},
			"Replace 10.0.0.2",
		},
		"the second, after silence": {
			two,
			map[string]string{"web. A": a2, "10.0.0.1:53 web. A": "silent"},
			[]string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"},
			"Replace 10.0.0.2",
		},
		"the second, after SERVFAIL": {
			two,
			map[string]string{"web. A": a2, "10.0.0.1:53 web. A": "SERVFAIL"},
			[]string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"},
			"Replace 10.0.0.2",
		},
		"the second, after a referral": {
			two,
			map[string]string{"web. A": a2, "10.0.0.1:53 web. A": "-aa|ns|. 5 NS ns."},
			[]string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"},
			"Replace 10.0.0.2",
		},
		"the second, after half an answer": {
			two,
			map[string]string{"web. A": a2 + a3, "udp 10.0.0.1:53 web. A": "tc" + a2, "tcp 10.0.0.1:53 web. A": "closed"},
			[]string{"udp 10.0.0.1:53 web. A", "tcp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"},
			"Replace 10.0.0.2 10.0.0.3",
		},
		"NXDOMAIN is an answer": {
			two,
			map[string]string{"10.0.0.1:53 web. A": "NXDOMAIN", "10.0.0.2:53 web. A": a2},
			[]string{"udp 10.0.0.1:53 web. A"},
			"Replace",
		},
		"all, twice": {
			two,
			map[string]string{"web. A": "REFUSED"},
			[]string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A", "udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"},
			"Fail",
		},
		"the search list, in order": {
			"nameserver 10.0.0.1\n" + search,
			map[string]string{"web.a. A": "NXDOMAIN", "web. A": a2},
			[]string{"udp 10.0.0.1:53 web.a. A", "udp 10.0.0.1:53 web.b. A", "udp 10.0.0.1:53 web. A"},
			"Replace 10.0.0.2",
		},
		"up to a name that has records": {
			"nameserver 10.0.0.1\n" + search,
			map[string]string{"web.a. A": "|web.a. 5 A 10.0.0.2", "web.b. A": a3},
			[]string{"udp 10.0.0.1:53 web.a. A"},
			"Replace 10.0.0.2",
		},
		"a silent server goes last": {
			two + "options attempts:1\nsearch a\n",
			map[string]string{"10.0.0.1:53 web.a. A": "silent", "web.a. A": "NXDOMAIN", "web. A": a2},
			[]string{"udp 10.0.0.1:53 web.a. A", "udp 10.0.0.2:53 web.a. A", "udp 10.0.0.2:53 web. A"},
			"Replace 10.0.0.2",
		},
		"a silent server goes last, and is asked": {
			two + "options attempts:1\nsearch a\n",
			map[string]string{"10.0.0.1:53 web.a. A": "silent", "web.a. A": "NXDOMAIN", "web. A": a2, "10.0.0.2:53 web. A": "SERVFAIL"},
			[]string{"udp 10.0.0.1:53 web.a. A", "udp 10.0.0.2:53 web.a. A", "udp 10.0.0.2:53 web. A", "udp 10.0.0.1:53 web. A"},
			"Replace 10.0.0.2",
		},
		"up to a name that fails": {
			"nameserver 10.0.0.1\noptions attempts:1\n" + search,
			map[string]string{"web.a. A": "SERVFAIL", "web.b. A": "|web.b. 5 A 10.0.0.2"},
			[]string{"udp 10.0.0.1:53 web.a. A"},
			"Fail",
		},
		"a CNAME's end, once": {
			"nameserver 10.0.0.1\n",
			map[string]string{"web. A": "|web. 5 CNAME b.", "b. A": "|b. 5 CNAME c." + soa, "c. A": a2},
			[]string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.1:53 b. A"},
			"Replace",
		},
		"EDNS0 is left out for old servers": {
			"nameserver 10.0.0.1\n",
			map[string]string{"web. A": "FORMERR", "plain udp 10.0.0.1:53 web. A": "tc" + a2, "plain tcp 10.0.0.1:53 web. A": a2 + a3},
			[]string{"udp 10.0.0.1:53 web. A", "plain udp 10.0.0.1:53 web. A", "plain tcp 10.0.0.1:53 web. A"},
			"Replace 10.0.0.2 10.0.0.3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{says: tt.says}
				got, err := told(t, conf(t, tt.conf), f.exchange)
				if strings.Join(got, "; ") != tt.told {
					t.Errorf("the roster is told %q, want %q; the error is %v", got, tt.told, err)
				}
				if asked := f.questions(); !slices.Equal(asked, tt.asked) {
					t.Errorf("it asks %q, want %q", asked, tt.asked)
				}
			})
		})
	}
}

// TestSearchList has a name of the search list that can't be asked for end the
// search where answers are authoritative, and only be told of where they are hints.
// The error names all that were tried.
func TestSearchList(t *testing.T) {
	for name, tt := range map[string]struct {
		says                 map[string]string
		hints, authoritative string
		error                string // of hints
	}{
		"the first fails": {
			map[string]string{"web.a. A": "SERVFAIL", "web.b. A": "|web.b. 5 A 10.0.0.2"},
			"Add 10.0.0.2; Fail", "Fail",
			"dns: web.a. A from 10.0.0.1:53: SERVFAIL",
		},
		"the first fails, of the rest there is none": {
			map[string]string{"web.a. A": "SERVFAIL", "web.b. A": "NXDOMAIN", "web. A": "NXDOMAIN"},
			"Fail", "Fail",
			"dns: web.a. A from 10.0.0.1:53: SERVFAIL; A of 2 names, the first of which is web.b., from 10.0.0.1:53: NXDOMAIN: there is no such name",
		},
		"the last fails": {
			map[string]string{"web.a. A": "NXDOMAIN", "web.b. A": "NXDOMAIN", "web. A": "SERVFAIL"},
			"Fail", "Fail",
			"dns: web. A from 10.0.0.1:53: SERVFAIL; A of 2 names, the first of which is web.a., from 10.0.0.1:53: NXDOMAIN: there is no such name",
		},
		"there is none": {
			map[string]string{"web.a. A": "NXDOMAIN", "web.b. A": soa, "web. A": "NXDOMAIN"},
			"Fail", "Replace",
			"dns: A of 2 names, the first of which is web.a., from 10.0.0.1:53: NXDOMAIN: there is no such name; web.b. A from 10.0.0.1:53: NOERROR, but no records of that type",
		},
		"a part is enough": {
			map[string]string{"web.a. A": "NXDOMAIN|web.a. 5 A 10.0.0.2", "web.b. A": "SERVFAIL"},
			"Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail",
			"dns: web.a. A from 10.0.0.1:53: NXDOMAIN, but with 1 records",
		},
	} {
		for authoritative, want := range map[bool]string{false: tt.hints, true: tt.authoritative} {
			t.Run(fmt.Sprintf("%s/authoritative=%v", name, authoritative), func(t *testing.T) {
				s := conf(t, "nameserver 10.0.0.1\nsearch a b\n")
				s.Authoritative = authoritative
				got, err := told(t, s, (&fake{says: tt.says}).exchange)
				if strings.Join(got, "; ") != want {
					t.Errorf("the roster is told %q with %v, want %q", got, err, want)
				}
				if !authoritative && (err == nil || err.Error() != tt.error) {
					t.Errorf("the error is %q, want %q", err, tt.error)
				}
			})
		}
	}
}

// TestSilentServer has many hosts of SRV records be found within the time that an
// answer of nobody leaves for that, though the first server is silent.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hosts = 200
		says := map[string]string{"10.0.0.1:53 web. SRV": "silent"}
		for i := range hosts {
			name := fmt.Sprintf("p%d.", i)
			says["udp 10.0.0.2:53 web. SRV"] += "|web. 5 SRV 0 0 4370 " + name
			for _, kind := range []string{"A", "AAAA"} {
				says["10.0.0.1:53 "+name+" "+kind] = "silent"
			}
			says["udp 10.0.0.2:53 "+name+" A"] = fmt.Sprintf("|%s 5 A 10.0.0.%d", name, i+1)
		}
		s := Strategy{Queries: []string{"web."}, SRV: true, Servers: []string{"10.0.0.1", "10.0.0.2"}, Authoritative: true}
		began := time.Now()
		results := s.round(t.Context(), (&fake{says: says}).exchange, new(turns))
		if n, took := len(results[0].nodes), time.Since(began); n != hosts || results[0].errs != nil || took > 6*time.Second {
			t.Errorf("it finds %d nodes of %d after %s, and %v; want all within 6 s", n, hosts, took, oneError(results[0].errs))
		}
	})
}

// TestRotate has questions begin with one server after the other.
func TestRotate(t *testing.T) {
	s := conf(t, "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions rotate\n")
	f, turn := &fake{}, new(turns)
	for range 3 {
		s.round(t.Context(), f.exchange, turn)
	}
	want := []string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A", "udp 10.0.0.1:53 web. A"}
	if asked := f.questions(); !slices.Equal(asked, want) {
		t.Errorf("it asks %q, want %q", asked, want)
	}
}

// TestResolvConfChanges has the next round ask the servers that the file names
// then.
func TestResolvConfChanges(t *testing.T) {
	s := conf(t, "nameserver 10.0.0.1\n")
	f := &fake{}
	s.round(t.Context(), f.exchange, new(turns))
	if err := os.WriteFile(s.ResolvConf, []byte("nameserver 10.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.round(t.Context(), f.exchange, new(turns))
	want := []string{"udp 10.0.0.1:53 web. A", "udp 10.0.0.2:53 web. A"}
	if asked := f.questions(); !slices.Equal(asked, want) {
		t.Errorf("it asks %q, want %q", asked, want)
	}
}

// TestRoundIsBounded has a round end however many servers, attempts and hosts
// there are.
func TestRoundIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := map[string]string{"web. SRV": "|web. 5 SRV 0 0 1 p1."}
		for host := range strings.FieldsSeq("p1 p2 p3 p4 p5 p6 p7 p8 p9 q1 q2 q3 q4 q5 q6 q7 q8 q9 r1 r2") {
			says["web. SRV"] += "|web. 5 SRV 0 0 1 " + host + "."
			says[host+". A"], says[host+". AAAA"] = "silent", "silent"
		}
		began := time.Now()
		got, _ := told(t, Strategy{Queries: []string{"web."}, SRV: true, Timeout: 20 * time.Second, Attempts: 5, Servers: []string{"10.0.0.53"}}, (&fake{says: says}).exchange)
		if took := time.Since(began); !slices.Equal(got, []string{"Fail"}) || took != maxRound {
			t.Errorf("after %s, the roster is told %q; want a Fail after %s", took, got, maxRound)
		}
	})
}
