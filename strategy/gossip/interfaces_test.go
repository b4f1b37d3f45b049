package gossip

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// iface makes an interface.
func iface(name string, flags net.Flags, prefixes ...string) netInterface {
	i := netInterface{Interface: net.Interface{Name: name, Flags: flags}}
	for _, p := range prefixes {
		i.prefixes = append(i.prefixes, netip.MustParsePrefix(p))
	}
	return i
}

const ethernet = net.FlagUp | net.FlagMulticast | net.FlagBroadcast | net.FlagRunning

func TestUsable(t *testing.T) {
	type in struct{ ipv4, ipv6, broadcast4, broadcast6 bool }
	for name, tt := range map[string]struct {
		i    netInterface
		want in
	}{
		"Ethernet":            {iface("eth0", ethernet, "10.0.0.1/24", "fe80::1/64"), in{true, true, true, true}},
		"IPv4 only":           {iface("eth0", ethernet, "10.0.0.1/24"), in{true, false, true, false}},
		"IPv6 only":           {iface("eth0", ethernet, "fe80::1/64"), in{false, true, false, true}},
		"no address":          {iface("eth0", ethernet), in{}},
		"down":                {iface("eth0", ethernet&^net.FlagUp, "10.0.0.1/24"), in{}},
		"without multicast":   {iface("eth0", net.FlagUp|net.FlagBroadcast, "10.0.0.1/24", "fe80::1/64"), in{false, false, true, false}},
		"a tunnel":            {iface("tun0", net.FlagUp|net.FlagPointToPoint|net.FlagMulticast, "10.0.0.1/24"), in{true, false, false, false}},
		"loopback":            {iface("lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8", "::1/128"), in{true, true, true, true}},
		"loopback that's off": {iface("lo", net.FlagLoopback, "127.0.0.1/8"), in{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := in{tt.i.usable(false, false), tt.i.usable(true, false), tt.i.usable(false, true), tt.i.usable(true, true)}
			if got != tt.want {
				t.Errorf("it is usable in %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBroadcasts(t *testing.T) {
	for name, tt := range map[string]struct {
		i    netInterface
		want []string
	}{
		"a /24":        {iface("eth0", ethernet, "10.77.0.5/24"), []string{"10.77.0.255"}},
		"a /20":        {iface("eth0", ethernet, "172.16.35.1/20"), []string{"172.16.47.255"}},
		"a /30":        {iface("eth0", ethernet, "10.0.0.1/30"), []string{"10.0.0.3"}},
		"a /31":        {iface("eth0", ethernet, "10.0.0.1/31"), []string{"255.255.255.255"}},
		"one address":  {iface("eth0", ethernet, "10.0.0.1/32"), []string{"255.255.255.255"}},
		"one more":     {iface("eth0", ethernet, "10.0.0.9/32", "10.0.0.1/24"), []string{"10.0.0.255"}},
		"two networks": {iface("eth0", ethernet, "10.0.0.1/24", "10.1.0.1/16", "fe80::1/64"), []string{"10.0.0.255", "10.1.255.255"}},
		"loopback":     {iface("lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8"), []string{"127.255.255.255"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, ip := range tt.i.broadcasts() {
				got = append(got, ip.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("they are %q, want %q", got, tt.want)
			}
		})
	}
}

// TestChoice has the fields choose the interfaces that they say.
func TestChoice(t *testing.T) {
	all := []netInterface{
		iface("lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8", "::1/128"),
		iface("eth0", ethernet, "10.0.0.1/24", "fe80::1/64"),
		iface("eth1", ethernet, "10.1.0.1/24", "2001:db8::1/64"),
	}
	for name, tt := range map[string]struct {
		s          Strategy
		want       []string
		ipv4, ipv6 bool
	}{
		"all":                {Strategy{}, []string{"lo", "eth0", "eth1"}, true, true},
		"a name":             {Strategy{Interface: "eth1"}, []string{"eth1"}, true, true},
		"an address":         {Strategy{Interface: "10.0.0.1"}, []string{"eth0"}, true, true},
		"an IPv6 address":    {Strategy{Interface: "fe80::1%eth0"}, []string{"eth0"}, true, true},
		"several":            {Strategy{Interface: "lo 2001:db8::1"}, []string{"lo", "eth1"}, true, true},
		"an absent one":      {Strategy{Interface: "eth7"}, nil, true, true},
		"a template":         {Strategy{Interface: `{{ "eth0" }}`}, []string{"eth0"}, true, true},
		"IPv4 only":          {Strategy{IfAddr: "0.0.0.0"}, []string{"lo", "eth0", "eth1"}, true, false},
		"IPv6 only":          {Strategy{IfAddr: "::"}, []string{"lo", "eth0", "eth1"}, false, true},
		"the one with it":    {Strategy{IfAddr: "10.1.0.1"}, []string{"eth1"}, true, false},
		"with it, in IPv6":   {Strategy{IfAddr: "2001:db8::1"}, []string{"eth1"}, false, true},
		"both":               {Strategy{Interface: "eth0 eth1", IfAddr: "10.1.0.1"}, []string{"eth1"}, true, false},
		"both, contradicted": {Strategy{Interface: "eth0", IfAddr: "10.1.0.1"}, nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tt.s.choose()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range all {
				if c.takes(&i) {
					got = append(got, i.Name)
				}
			}
			if !slices.Equal(got, tt.want) || c.family(false) != tt.ipv4 || c.family(true) != tt.ipv6 {
				t.Errorf("it takes %q, IPv4 %t, IPv6 %t; want %q, %t, %t", got, c.family(false), c.family(true), tt.want, tt.ipv4, tt.ipv6)
			}
		})
	}
}

// TestChoiceFails has a template that finds nothing be an error, which a Run
// reports, and not all interfaces.
func TestChoiceFails(t *testing.T) {
	for name, s := range map[string]Strategy{
		"Interface":              {Interface: `{{ "" }}`},
		"IfAddr":                 {IfAddr: `{{ "" }}`},
		"IfAddr, not an address": {IfAddr: `{{ "eth0" }}`},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := s.choose(); err == nil {
				t.Errorf("it chooses %+v", c)
			}
		})
	}
}

// TestLinks has a link for each family that is used, where this machine has it.
func TestLinks(t *testing.T) {
	for name, tt := range map[string]struct {
		s    Strategy
		want int
	}{
		"IPv4":                     {Strategy{Groups: []string{"233.252.1.198"}}, 1},
		"IPv4 by IfAddr":           {Strategy{IfAddr: "0.0.0.0"}, 1},
		"broadcast":                {Strategy{BroadcastOnly: true, IfAddr: "0.0.0.0"}, 1},
		"a family without a group": {Strategy{Groups: []string{"233.252.1.198"}, IfAddr: "::"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			links, err := tt.s.withDefaults().open(t.Context())
			if len(links) != tt.want || (err == nil) != (tt.want > 0) {
				t.Errorf("there are %d links, want %d: %v", len(links), tt.want, err)
			}
			for _, l := range links {
				if err := l.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
