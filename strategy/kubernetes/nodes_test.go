package kubernetes

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
)

// pick makes an endpoint of a pod, on port 4370.
func pick(pod, addr string, state state, changes ...func(*endpoint)) endpoint {
	e := endpoint{id: "uid-" + pod, pod: pod, addr: netip.MustParseAddr(addr), port: 4370, state: state}
	for _, c := range changes {
		c(&e)
	}
	return e
}

func called(e *endpoint)   { e.hostname = "web-0.web-nodes" }
func portless(e *endpoint) { e.port = 0 }

// TestNodes has which nodes the endpoints of a namespace are.
func TestNodes(t *testing.T) {
	type list = []cluster.Node
	v4, v6 := pick("a", "10.0.0.1", ready), pick("a", "fd00::1", ready)
	only4, only6 := pick("b", "10.0.0.2", ready), pick("c", "fd00::3", ready)
	both := []endpoint{v4, v6, only4, only6}
	self := func(name, addr string) pod {
		p := pod{namespace: "app", name: name}
		p.addr, _ = netip.ParseAddr(addr)
		return p
	}
	for name, tt := range map[string]struct {
		naming      naming
		endpoints   []endpoint
		nodes, keep list
		says        string // the error, empty for none
	}{
		"nobody":                 {},
		"ready":                  {naming{}, []endpoint{v4}, list{"10.0.0.1:4370"}, nil, ""},
		"not ready":              {naming{}, []endpoint{pick("a", "10.0.0.1", notReady)}, nil, list{"10.0.0.1:4370"}, ""},
		"not ready, by option":   {naming{includeNotReady: true}, []endpoint{pick("a", "10.0.0.1", notReady)}, list{"10.0.0.1:4370"}, nil, ""},
		"terminating":            {naming{}, []endpoint{pick("a", "10.0.0.1", terminating)}, nil, list{"10.0.0.1:4370"}, ""},
		"terminating, by option": {naming{includeNotReady: true}, []endpoint{pick("a", "10.0.0.1", terminating)}, nil, list{"10.0.0.1:4370"}, ""},

		"a pod in two slices":                   {naming{}, []endpoint{v4, v4}, list{"10.0.0.1:4370"}, nil, ""},
		"ready in one slice":                    {naming{}, []endpoint{v4, pick("a", "10.0.0.1", notReady)}, list{"10.0.0.1:4370"}, nil, ""},
		"ready in the other slice":              {naming{}, []endpoint{pick("a", "10.0.0.1", notReady), v4}, list{"10.0.0.1:4370"}, nil, ""},
		"terminating in one slice":              {naming{}, []endpoint{pick("a", "10.0.0.1", terminating), v4}, nil, list{"10.0.0.1:4370"}, ""},
		"the port is in one slice":              {naming{}, []endpoint{v4, pick("a", "10.0.0.1", ready, portless)}, list{"10.0.0.1:4370"}, nil, ""},
		"an address that another pod had":       {naming{}, []endpoint{pick("old", "10.0.0.1", terminating), v4}, list{"10.0.0.1:4370"}, list{"10.0.0.1:4370"}, ""},
		"two pods of one name, one after other": {naming{}, []endpoint{{id: "1", pod: "a", addr: netip.MustParseAddr("10.0.0.1"), port: 1, state: terminating}, {id: "2", pod: "a", addr: netip.MustParseAddr("10.0.0.2"), port: 1, state: ready}}, list{"10.0.0.2:1"}, list{"10.0.0.1:1"}, ""},

		"IPv4 preferred": {naming{}, both, list{"10.0.0.1:4370", "10.0.0.2:4370", "[fd00::3]:4370"}, nil, ""},
		"IPv6 preferred": {naming{prefer6: true}, both, list{"[fd00::1]:4370", "10.0.0.2:4370", "[fd00::3]:4370"}, nil, ""},
		"only IPv4":      {naming{only: OnlyIPv4}, both, list{"10.0.0.1:4370", "10.0.0.2:4370"}, nil, ""},
		"only IPv6":      {naming{only: OnlyIPv6}, both, list{"[fd00::1]:4370", "[fd00::3]:4370"}, nil, ""},

		"a port for all":                            {naming{port: 1}, []endpoint{v4}, list{"10.0.0.1:1"}, nil, ""},
		"a basename":                                {naming{basename: "web"}, []endpoint{v4, only6}, list{"web@10.0.0.1:4370", "web@[fd00::3]:4370"}, nil, ""},
		"by DNS":                                    {naming{mode: DNS, domain: "cluster.local"}, both, list{"10-0-0-1.app.pod.cluster.local:4370", "10-0-0-2.app.pod.cluster.local:4370", "fd00--3.app.pod.cluster.local:4370"}, nil, ""},
		"by DNS, IPv6":                              {naming{mode: DNS, domain: "k8s.example.org", only: OnlyIPv6}, []endpoint{v6}, list{"fd00--1.app.pod.k8s.example.org:4370"}, nil, ""},
		"by hostname":                               {naming{mode: Hostname, domain: "cluster.local"}, []endpoint{pick("web-0", "10.0.0.1", ready, called)}, list{"web-0.web-nodes.app.svc.cluster.local:4370"}, nil, ""},
		"by hostname in one slice":                  {naming{mode: Hostname, domain: "cluster.local"}, []endpoint{pick("web-0", "10.0.0.1", ready, called), pick("web-0", "fd00::1", ready)}, list{"web-0.web-nodes.app.svc.cluster.local:4370"}, nil, ""},
		"by hostname and basename":                  {naming{mode: Hostname, domain: "cluster.local", basename: "web"}, []endpoint{pick("web-0", "10.0.0.1", notReady, called)}, nil, list{"web@web-0.web-nodes.app.svc.cluster.local:4370"}, ""},
		"by hostname, without one":                  {naming{mode: Hostname}, []endpoint{v4, pick("web-0", "10.0.0.1", ready, called)}, list{"web-0.web-nodes.app.svc.:4370"}, nil, "pod a: it has no hostname"},
		"without the port":                          {naming{portName: "cluster"}, []endpoint{only4, pick("a", "10.0.0.1", ready, portless)}, list{"10.0.0.2:4370"}, nil, `pod a: it has no TCP port named "cluster"`},
		"without the port, no pod":                  {naming{portName: "cluster"}, []endpoint{{id: "x", addr: netip.MustParseAddr("10.0.0.9")}}, nil, nil, "pod 10.0.0.9: it has no TCP port"},
		"without the port, IPv6":                    {naming{portName: "cluster"}, []endpoint{{id: "x", addr: netip.MustParseAddr("fd00::9")}}, nil, nil, "pod fd00::9: it has no TCP port"},
		"a family that doesn't count needs no port": {naming{only: OnlyIPv6}, []endpoint{pick("a", "10.0.0.1", ready, portless)}, nil, nil, ""},
		"many without the port": {naming{portName: "p"}, []endpoint{
			pick("a", "10.0.0.1", ready, portless), pick("b", "10.0.0.2", ready, portless), pick("c", "10.0.0.3", ready, portless), pick("d", "10.0.0.4", ready, portless), pick("e", "10.0.0.5", ready, portless),
		}, nil, nil, "and 2 more"},

		"this pod by its name":                {naming{self: self("a", "")}, []endpoint{v4, only4}, list{"10.0.0.2:4370"}, nil, ""},
		"this pod by its address":             {naming{self: self("", "10.0.0.1")}, []endpoint{v4, only4}, list{"10.0.0.2:4370"}, nil, ""},
		"this pod by its other address":       {naming{self: self("", "fd00::1")}, []endpoint{v4, v6, only4}, list{"10.0.0.2:4370"}, nil, ""},
		"this pod isn't kept either":          {naming{self: self("a", "")}, []endpoint{pick("a", "10.0.0.1", terminating)}, nil, nil, ""},
		"this pod, by DNS":                    {naming{mode: DNS, domain: "x", self: self("a", "")}, []endpoint{v4}, nil, nil, ""},
		"this pod needs no port":              {naming{self: self("a", "")}, []endpoint{pick("a", "10.0.0.1", ready, portless)}, nil, nil, ""},
		"on the host of this pod":             {naming{self: self("a", "10.0.0.1")}, []endpoint{pick("z", "10.0.0.1", ready), v4}, list{"10.0.0.1:4370"}, nil, ""},
		"this pod, whose host has a name":     {naming{self: pod{namespace: "app", name: "worker-1", guessed: true, addr: netip.MustParseAddr("10.0.0.1")}}, []endpoint{v4, only4}, list{"10.0.0.2:4370"}, nil, ""},
		"this pod by its host's name":         {naming{self: pod{namespace: "app", name: "a", guessed: true}}, []endpoint{v4, only4}, list{"10.0.0.2:4370"}, nil, ""},
		"its name, of another cluster":        {naming{self: self("a", "10.0.0.9")}, []endpoint{v4}, list{"10.0.0.1:4370"}, nil, ""},
		"its name and another family":         {naming{self: self("a", "fd00::9")}, []endpoint{v4}, nil, nil, ""},
		"this pod where pods have no names":   {naming{self: self("a", "10.0.0.9")}, []endpoint{{id: "x", addr: netip.MustParseAddr("10.0.0.9"), port: 1, state: ready}}, nil, nil, ""},
		"of this pod's name, elsewhere":       {naming{self: pod{namespace: "other", name: "a"}}, []endpoint{v4}, list{"10.0.0.1:4370"}, nil, ""},
		"a pod without a name isn't this one": {naming{self: pod{namespace: "app"}}, []endpoint{{id: "x", addr: netip.MustParseAddr("10.0.0.9"), port: 1, state: ready}}, list{"10.0.0.9:1"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, keep, err := tt.naming.nodes("app", tt.endpoints)
			if !slices.Equal(nodes, tt.nodes) || !slices.Equal(keep, tt.keep) {
				t.Errorf("they are %q, keep %q; want %q, keep %q", nodes, keep, tt.nodes, tt.keep)
			}
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v, want %q in it", err, tt.says)
			}
		})
	}
}
