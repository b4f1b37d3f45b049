package hostsfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		port int
		want []cluster.Node
		says string // of the one error; empty: none
	}{
		"nothing":                   {"", 4370, nil, ""},
		"blank lines":               {"\n \t\n\r\n\n", 4370, nil, ""},
		"comments":                  {"# a\n  #b\n% c\n#", 4370, nil, ""},
		"one host":                  {"10.0.0.1\n", 4370, []cluster.Node{"10.0.0.1:4370"}, ""},
		"a last line without end":   {"10.0.0.1\n10.0.0.2", 4370, []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370"}, ""},
		"CRLF":                      {"10.0.0.1\r\n10.0.0.2\r\n", 4370, []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370"}, ""},
		"a byte order mark":         {"\uFEFF10.0.0.1\n", 4370, []cluster.Node{"10.0.0.1:4370"}, ""},
		"blanks around":             {" \t10.0.0.1 \t\n", 4370, []cluster.Node{"10.0.0.1:4370"}, ""},
		"a comment after it":        {"10.0.0.1#x\n10.0.0.2 # y # z\n", 4370, []cluster.Node{"10.0.0.1:4370", "10.0.0.2:4370"}, ""},
		"ports of their own":        {"10.0.0.1:1\n[::1]:2\nweb:3\n", 0, []cluster.Node{"10.0.0.1:1", "[::1]:2", "web:3"}, ""},
		"names":                     {"a@10.0.0.1\nB@Web.Internal.:1\n", 4370, []cluster.Node{"a@10.0.0.1:4370", "B@web.internal:1"}, ""},
		"IPv6":                      {"2001:DB8::1\n[::1]\nfe80::1%eth0\n", 4370, []cluster.Node{"[2001:db8::1]:4370", "[::1]:4370", "[fe80::1%eth0]:4370"}, ""},
		"Erlang's":                  {"'web.internal'.\n 'a@b' . % x\n'c:1'.#y\nd.\n", 4370, []cluster.Node{"web.internal:4370", "a@b:4370", "c:1", "d:4370"}, ""},
		"a bad line among good":     {"10.0.0.1\nweb 2\n10.0.0.3\n", 4370, []cluster.Node{"10.0.0.1:4370", "10.0.0.3:4370"}, `/hosts:2: transport: node "web 2"`},
		"no port":                   {"web\n", 0, nil, `/hosts:1: transport: node "web": missing port in address; want host:port or name@host:port, with IPv6 in brackets; give it one, or set Port`},
		"no port in Erlang's":       {"'web'.\n", 0, nil, `node "web": missing port`},
		"a quote without an end":    {"\n'web.\n", 4370, nil, `/hosts:2: "'web." begins with a quote; want`},
		"a quote without a dot":     {"'web'\n", 4370, nil, `"'web'" begins with a quote`},
		"two hosts in quotes":       {"'a'. 'b'.\n", 4370, nil, `"'a'. 'b'." begins with a quote; want one host`},
		"nothing in quotes":         {"''.\n", 4370, nil, `"''." begins with a quote`},
		"a port that isn't":         {"web:0\n", 4370, nil, `port "0"`},
		"an URL":                    {"http://web\n", 4370, nil, `node "http://web"`},
		"the system's hosts file":   {"127.0.0.1 localhost\n", 4370, nil, `node "127.0.0.1 localhost"`},
		"a line that is too long":   {strings.Repeat("a", 1025) + "\n", 4370, nil, `"... has 1025 bytes`},
		"a long comment":            {"# " + strings.Repeat("a", 1025) + "\n", 4370, nil, ""},
		"UTF-16":                    {"w\x00e\x00b\x00\n\x00", 4370, nil, "/hosts: it is not UTF-8 text"},
		"bytes that aren't text":    {"web\n\xff\xfe\n", 4370, nil, "/hosts: it is not UTF-8 text"},
		"letters that aren't ASCII": {"wéb\n", 4370, nil, "xn--"},
	} {
		t.Run(name, func(t *testing.T) {
			got, bad := parse([]byte(tt.text), tt.port)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			err := bad.in("/hosts")
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("the error is %v, want one line with %q", err, tt.says)
			}
		})
	}
}

// TestParseManyBad has a file of garbage be reported in brief.
func TestParseManyBad(t *testing.T) {
	_, bad := parse([]byte(strings.Repeat("a b\n", 1000)), 4370)
	lines := strings.Split(bad.in("/hosts").Error(), "\n")
	if len(lines) != 11 || !strings.HasPrefix(lines[9], "hostsfile: /hosts:10: ") || lines[10] != "hostsfile: /hosts: 990 more bad lines" {
		t.Errorf("it reports %q", lines)
	}
}

// FuzzParse has every node be one in canonical form, and every line be a node,
// bad, or without a host.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.1\n", "web:1\r\n#x\n\na@[::1]:2", "'web.internal'. % x\n", "fe80::1%eth0", "'a", "\uFEFFweb\n", "a\x00", "a b\nc:0\n",
	} {
		f.Add([]byte(seed), 4370)
		f.Add([]byte(seed), 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, port int) {
		if port < 0 || port > 65535 {
			t.Skip("Validate refuses it")
		}
		nodes, bad := parse(data, port)
		for _, n := range nodes {
			if c, err := transport.ParseNode(string(n)); err != nil || c != n {
				t.Errorf("it returns %q, whose canonical form is %q, %v", n, c, err)
			}
		}
		lines := strings.Count(string(data), "\n") + 1
		if got := len(nodes) + len(bad.first) + bad.more; got > lines {
			t.Errorf("%d lines have %d nodes and bad lines", lines, got)
		}
		if err := bad.in("/hosts"); (err == nil) != (len(bad.first) == 0) {
			t.Errorf("%d bad lines are the error %v", len(bad.first), err)
		}
		alone, _ := parse([]byte(strings.Join(strings.Split(string(data), "\n"), "\n\n# x\n")), port)
		if !slices.Equal(alone, nodes) {
			t.Errorf("with blank lines and comments between, it returns %q instead of %q", alone, nodes)
		}
	})
}
