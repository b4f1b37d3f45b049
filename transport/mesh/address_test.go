package mesh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	sockaddr "github.com/hashicorp/go-sockaddr"

	"github.com/libcluster-go/cluster/transport"
)

func TestBindAddr(t *testing.T) {
	tests := []struct{ bind, want, wrong string }{
		{bind: ":4370", want: ":4370"},
		{bind: "127.0.0.1:0", want: "127.0.0.1:0"},
		{bind: "[::1]:5", want: "[::1]:5"},
		{bind: `{{ GetAllInterfaces | include "flags" "loopback" | include "type" "IPv4" | limit 1 | attr "address" }}`, want: "127.0.0.1:4370"},
		{bind: `{{ "127.0.0.1" }}:99`, want: "127.0.0.1:99"},
		{bind: `{{ "fd00::1" }}:99`, want: "[fd00::1]:99"},
		{bind: `[{{ "fd00::1" }}]:99`, want: "[fd00::1]:99"},
		{bind: `{{ "fd00::1" }}`, want: "[fd00::1]:4370"},
		{bind: `{{ GetInterfaceIP "no-such-interface" }}:4370`, wrong: "finds no address on this machine"},
		{bind: "{{ nonsense }}:1", wrong: "not a go-sockaddr template"},
		{bind: "{{ nonsense }}", wrong: "not a go-sockaddr template"},
		{bind: `{{ GetAllInterfaces | include "name" "no-such-interface" | attr "address" }}`, wrong: "finds no address on this machine"},
		{bind: "10.0.0.1:x", wrong: `port "x"`},
		{bind: "10.0.0.1:70000", wrong: `port "70000"`},
		{bind: "web", wrong: "want host:port"},
	}
	for _, tt := range tests {
		t.Run(tt.bind, func(t *testing.T) {
			got, err := bindAddr(tt.bind)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || !strings.Contains(err.Error(), "Config.Bind") {
					t.Errorf("got %q, %v; want an error with %q", got, err, tt.wrong)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestAdvertised(t *testing.T) {
	loopback, all := netip.MustParseAddrPort("127.0.0.1:7"), netip.MustParseAddrPort("[::]:7")
	found, findErr := findAddr()
	tests := []struct {
		name, advertise string
		listen          netip.AddrPort
		want            string
		wrong           string
	}{
		{name: "what is bound", listen: loopback, want: "127.0.0.1:7"},
		{name: "what is found", listen: all, want: net.JoinHostPort(found.String(), "7")},
		{name: "host", advertise: "web-0.web", listen: all, want: "web-0.web:7"},
		{name: "host and port", advertise: "web-0.web:8", listen: all, want: "web-0.web:8"},
		{name: "dual stack", advertise: "10.0.0.1, fd00::1 [fd00::2]:9", listen: all, want: "10.0.0.1:7 [fd00::1]:7 [fd00::2]:9"},
		{name: "template", advertise: `{{ "10.0.0.1" }}`, listen: all, want: "10.0.0.1:7"},
		{name: "templates with ports", advertise: `{{ "10.0.0.1 fd00::1" }}:8 {{ "fd00::2" }}:9,a`, listen: all, want: "10.0.0.1:8 [fd00::1]:8 [fd00::2]:9 a:7"},
		{name: "a template finds nothing", advertise: `{{ GetInterfaceIP "no-such-interface" }}:8`, listen: all, wrong: "finds no address"},
		{name: "all interfaces", advertise: "0.0.0.0", listen: all, wrong: "not the address of one node"},
		{name: "a name before the @", advertise: "me@10.0.0.1", listen: all, wrong: "belongs into Config.Name"},
		{name: "too many", advertise: strings.Repeat("10.0.0.1 ", maxAddrs+1), listen: all, wrong: "want at most 16"},
		{name: "bad port", advertise: "a:x", listen: all, wrong: `port "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "what is found" && findErr != nil {
				tt.want, tt.wrong = "", "CLUSTER_ADVERTISE"
			}
			nodes, err := advertised(tt.advertise, tt.listen)
			got := ""
			for _, n := range nodes {
				got += " " + string(n)
			}
			if got = strings.TrimSpace(got); tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got %q, %v; want an error with %q", got, err, tt.wrong)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestFindAddr: the private address that go-sockaddr finds comes first, and a
// machine without any says what to set.
func TestFindAddr(t *testing.T) {
	private, err := sockaddr.GetPrivateIP()
	if err != nil {
		t.Fatal(err)
	}
	got, err := findAddr()
	switch {
	case private != "":
		if err != nil || !slices.Contains(strings.Fields(private), got.String()) {
			t.Errorf("got %s, %v; want one of %q", got, err, private)
		}
	case err != nil:
		if !strings.Contains(err.Error(), "CLUSTER_ADVERTISE") {
			t.Errorf("the error doesn't say what to set: %v", err)
		}
	default:
		if !got.IsGlobalUnicast() {
			t.Errorf("got %s, want a global unicast address", got)
		}
	}
}

// names is a resolver of fixed names.
type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if n[host] == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return n[host], nil
}

// freePort finds a port that is free at all of the addresses.
func freePort(t *testing.T, ips []netip.Addr) string {
	t.Helper()
	for range 100 {
		port, free := "0", true
		for _, ip := range ips {
			l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), port))
			if free = err == nil; !free {
				break
			}
			defer l.Close() // not before all have been tried
			_, port, _ = net.SplitHostPort(l.Addr().String())
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free at all of", ips)
	return ""
}

// TestANameStandsForAllItsAddresses: of five hosts behind one name, each links
// with the four others, and knows them by that name.
func TestANameStandsForAllItsAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address of this machine on Linux only")
	}
	var web []netip.Addr
	for i := range 5 {
		web = append(web, netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}))
	}
	port := freePort(t, web)
	var meshes []*Mesh
	for _, ip := range web {
		meshes = append(meshes, listen(t, func(c *Config) {
			c.Bind = net.JoinHostPort(ip.String(), port)
			c.Resolver = names{"web": web, "me": web[:1]}
		}))
	}
	name := transport.Node("web:" + port)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := make(chan error, len(meshes))
	for _, m := range meshes {
		go func() { errs <- m.Connect(ctx, name) }()
	}
	for range meshes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, m := range meshes {
		until(t, m, "four links", func() bool { return peerCount(m) == 4 && linkCount(m) == 4 })
		all, _ := m.ListNodes(ctx)
		if known := m.Canonical(name); !slices.Equal(known, all) {
			t.Errorf("%s: %s stands for %v, want %v", m.Self(), name, known, all)
		}
	}
	if err := meshes[0].Connect(ctx, transport.Node("me:"+port)); !errors.Is(err, transport.ErrSelf) {
		t.Errorf("a name of this node alone: %v, want ErrSelf", err)
	}
	if err := meshes[0].Connect(ctx, transport.Node("nobody:"+port)); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a name of nobody: %v", err)
	}
	if err := meshes[4].Close(); err != nil {
		t.Fatal(err)
	}
	until(t, meshes[0], "the fifth is seen to leave", func() bool { return peerCount(meshes[0]) == 3 })
	if err := meshes[0].Connect(ctx, name); !errors.Is(err, transport.ErrPartial) {
		t.Errorf("with one of five away: %v, want ErrPartial", err)
	}
}
