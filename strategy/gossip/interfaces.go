package gossip

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A netInterface is one network interface of this machine.
type netInterface struct {
	net.Interface

	prefixes []netip.Prefix // its addresses and their networks
}

func (i *netInterface) loopback() bool { return i.Flags&net.FlagLoopback != 0 }

// idle reports whether it leads nowhere now, as one whose cable is out, or a
// bridge whose ports are down: it takes packets, and nobody hears them.
func (i *netInterface) idle() bool { return i.Flags&net.FlagRunning == 0 }

// toOthers reports whether other machines may be reached by it. Loopback isn't
// missed where they are: Linux has no route there for IPv6 multicast.
func (i *netInterface) toOthers() bool { return !i.loopback() && !i.idle() }

func (i *netInterface) same(j netInterface) bool { return i.Index == j.Index && i.Name == j.Name }

// usable reports whether it can be sent to in the family.
func (i *netInterface) usable(ipv6, broadcast bool) bool {
	need := net.FlagMulticast
	if broadcast && !ipv6 {
		need = net.FlagBroadcast
	}
	return i.Flags&net.FlagUp != 0 && (i.loopback() || i.Flags&need != 0) &&
		slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() == ipv6 })
}

// broadcasts returns the broadcast addresses of its IPv4 networks. Networks of
// one or two hosts have none (RFC 3021): if there are no others, it is the one
// that stands for the interface.
func (i *netInterface) broadcasts() (all []netip.Addr) {
	for _, p := range i.prefixes {
		if !p.Addr().Is4() || p.Bits() > 30 {
			continue
		}
		ip := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			ip[bit/8] |= 0x80 >> (bit % 8)
		}
		all = append(all, netip.AddrFrom4(ip))
	}
	if len(all) == 0 {
		all = append(all, limitedBroadcast())
	}
	return all
}

// limitedBroadcast is all hosts of the network that an interface is in (RFC 919).
func limitedBroadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

// listInterfaces asks the system.
func listInterfaces() ([]netInterface, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("gossip: listing the network interfaces: %w", err)
	}
	list := make([]netInterface, 0, len(found))
	for _, i := range found {
		n := netInterface{Interface: i}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				n.prefixes = append(n.prefixes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// A choice says which interfaces are used; its zero value takes all.
type choice struct {
	interfaces []string   // names or addresses; none: all
	ifAddr     netip.Addr // of the only one; invalid or unspecified: all
}

// choose expands what the strategy says about interfaces.
func (s Strategy) choose() (choice, error) {
	var c choice
	text, err := expand("Interface", s.Interface)
	if err != nil {
		return choice{}, err
	}
	if c.interfaces = strings.Fields(text); s.Interface != "" && len(c.interfaces) == 0 {
		return choice{}, fmt.Errorf("gossip: Interface is %q, which finds none on this machine", s.Interface)
	}
	if text, err = expand("IfAddr", s.IfAddr); err != nil || s.IfAddr == "" {
		return c, err
	}
	if c.ifAddr, err = netip.ParseAddr(text); err != nil {
		return choice{}, fmt.Errorf("gossip: IfAddr is %q, which is no IP address but %q", s.IfAddr, text)
	}
	c.ifAddr = c.ifAddr.Unmap()
	return c, nil
}

// family reports whether the address family is used.
func (c *choice) family(ipv6 bool) bool { return !c.ifAddr.IsValid() || c.ifAddr.Is6() == ipv6 }

// takes reports whether the interface is used.
func (c *choice) takes(i *netInterface) bool {
	has := func(text string) bool {
		ip, err := netip.ParseAddr(text)
		return text == i.Name || err == nil && i.has(ip)
	}
	if c.ifAddr.IsValid() && !c.ifAddr.IsUnspecified() && !i.has(c.ifAddr) {
		return false
	}
	return len(c.interfaces) == 0 || slices.ContainsFunc(c.interfaces, has)
}

func (i *netInterface) has(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Addr() == ip })
}
