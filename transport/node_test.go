package transport_test

import (
	"strings"
	"testing"

	"github.com/libcluster-go/cluster/transport"
)

func TestParseNode(t *testing.T) {
	tests := []struct {
		name, in string
		port     int
		want     transport.Node
		wantErr  string
	}{
		{name: "address", in: "10.0.0.1:4370", want: "10.0.0.1:4370"},
		{name: "named", in: "a@10.0.0.1:4370", want: "a@10.0.0.1:4370"},
		{name: "name keeps its case", in: "Web-1@HOST.Example.:80", want: "Web-1@host.example:80"},
		{name: "ipv6 is shortened", in: "[FD00:0:0::1]:1", want: "[fd00::1]:1"},
		{name: "mapped ipv4", in: "[::ffff:10.1.2.3]:9", want: "10.1.2.3:9"},
		{name: "zone", in: "[fe80::1%eth0]:9", want: "[fe80::1%eth0]:9"},
		{name: "leading zeros in port", in: "h:0080", want: "h:80"},
		{name: "default port", in: "h", port: 4370, want: "h:4370"},
		{name: "default port, own wins", in: "h:1", port: 4370, want: "h:1"},
		{name: "default port, bare ipv6", in: "n@fd00::1", port: 4370, want: "n@[fd00::1]:4370"},
		{name: "default port, bracketed ipv6", in: "[fd00::1]", port: 4370, want: "[fd00::1]:4370"},
		{name: "underscore", in: "my_svc:1", want: "my_svc:1"},
		{name: "no port", in: "h", wantErr: "missing port"},
		{name: "long zone", in: "[fe80::1%" + strings.Repeat("z", 65) + "]:9", wantErr: "not the name of an interface"},
		{name: "empty", in: "", wantErr: `node ""`},
		{name: "port zero", in: "h:0", wantErr: "1 to 65535"},
		{name: "port too large", in: "h:65536", wantErr: "1 to 65535"},
		{name: "port is a word", in: "h:http", wantErr: `"http"`},
		{name: "empty host", in: ":80", wantErr: "host is empty"},
		{name: "empty name", in: "@h:80", wantErr: "before the @ is empty"},
		{name: "space in name", in: "a b@h:80", wantErr: "' '"},
		{name: "two ats", in: "a@b@h:80", wantErr: "'@'"},
		{name: "bad octet", in: "10.0.0.256:80", wantErr: "neither an IP address nor a name"},
		{name: "slash", in: "http://h:80", wantErr: "too many colons"},
		{name: "space in host", in: "a b:80", wantErr: "' '"},
		{name: "empty label", in: "a..b:80", wantErr: "empty label"},
		{name: "umlaut", in: "bücher.example:80", wantErr: "xn--"},
		{name: "unspecified", in: "0.0.0.0:80", wantErr: "not the address of one node"},
		{name: "multicast", in: "[ff02::1]:80", wantErr: "not the address of one node"},
		{name: "long label", in: strings.Repeat("a", 64) + ":80", wantErr: "more than 63"},
		{name: "long host", in: strings.Repeat("a.", 140) + "a:80", wantErr: "more than 253"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := transport.ParseNodeWithPort(tt.in, tt.port)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("ParseNodeWithPort(%q, %d) = %q, %v; want an error with %q", tt.in, tt.port, got, err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("ParseNodeWithPort(%q, %d) = %q, %v; want %q", tt.in, tt.port, got, err, tt.want)
			}
		})
	}
}

func TestNodeParts(t *testing.T) {
	n := transport.Node("web@[fd00::1]:4370")
	if n.Name() != "web" || n.Host() != "fd00::1" || n.Port() != 4370 || n.Addr() != "[fd00::1]:4370" {
		t.Errorf("parts of %s: name %q, host %q, port %d, addr %q", n, n.Name(), n.Host(), n.Port(), n.Addr())
	}
	if _, ok := n.IP(); !ok {
		t.Errorf("%s: the host is an IP address", n)
	}
	if _, ok := transport.Node("web:1").IP(); ok {
		t.Error("web:1: the host is a name")
	}
	if bad := transport.Node("nonsense"); bad.Port() != 0 || bad.Host() != "" {
		t.Errorf("%s: host %q, port %d", bad, bad.Host(), bad.Port())
	}
}

// FuzzParseNode checks that what is accepted is stable, and that its parts put
// it together again.
func FuzzParseNode(f *testing.F) {
	for _, s := range []string{"a@10.0.0.1:4370", "[::1]:1", "h", "H.:1", "@", "[::ffff:1.2.3.4]:9", "fe80::1%x"} {
		f.Add(s, 0)
		f.Add(s, 4370)
	}
	f.Fuzz(func(t *testing.T, s string, port int) {
		if port < 0 || port > 65535 {
			t.Skip()
		}
		n, err := transport.ParseNodeWithPort(s, port)
		if err != nil {
			return
		}
		again, err := transport.ParseNode(string(n))
		if err != nil || again != n {
			t.Fatalf("ParseNode(%q) = %q, %v; want it unchanged", n, again, err)
		}
		if n.Host() == "" || n.Port() == 0 {
			t.Fatalf("%q: host %q, port %d", n, n.Host(), n.Port())
		}
	})
}
