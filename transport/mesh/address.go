package mesh

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	sockaddr "github.com/hashicorp/go-sockaddr"
	"github.com/hashicorp/go-sockaddr/template"

	"github.com/libcluster-go/cluster/transport"
)

// expand runs the go-sockaddr templates in s, which may be none.
func expand(field, s string) (string, error) {
	var failed error
	parse := func(text string) string {
		out, err := template.Parse(text)
		switch {
		case failed != nil:
		case err != nil:
			failed = fmt.Errorf("mesh: Config.%s %q is not a go-sockaddr template: %w", field, s, err)
		case strings.TrimSpace(out) == "":
			failed = fmt.Errorf("mesh: Config.%s %q finds no address on this machine", field, s)
		}
		return out
	}
	// A template before a port by itself: it may find nothing, several
	// addresses, or an IPv6 one that needs brackets.
	out := regexp.MustCompile(`\[?(\{\{[^{}]*\}\})\]?:(\d+)`).ReplaceAllStringFunc(s, func(match string) string {
		i := strings.LastIndexByte(match, ':')
		hosts := strings.Fields(parse(strings.Trim(match[:i], "[]")))
		for j, h := range hosts {
			hosts[j] = net.JoinHostPort(h, match[i+1:])
		}
		return strings.Join(hosts, " ")
	})
	if strings.Contains(out, "{{") {
		out = parse(out)
	}
	return strings.TrimSpace(out), failed
}

// bindAddr returns the "host:port" to listen on.
func bindAddr(bind string) (string, error) {
	s, err := expand("Bind", bind)
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		s = net.JoinHostPort(ip.String(), strconv.Itoa(Port)) // a template's answer has no port
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("mesh: Config.Bind %q: want host:port, such as 10.0.0.1:%d or :%d: %w", bind, Port, Port, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("mesh: Config.Bind %q: port %q is not a number from 0 to 65535", bind, port)
	}
	return net.JoinHostPort(host, port), nil
}

// advertised returns the addresses that name this node, the first foremost.
func advertised(advertise string, listen netip.AddrPort) ([]transport.Node, error) {
	s, err := expand("Advertise", advertise)
	if err != nil {
		return nil, err
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' })
	if len(parts) == 0 {
		ip := listen.Addr().Unmap()
		if ip.IsUnspecified() {
			if ip, err = findAddr(); err != nil {
				return nil, err
			}
		}
		parts = []string{ip.String()}
	}
	if len(parts) > maxAddrs {
		return nil, fmt.Errorf("mesh: Config.Advertise %q names %d addresses; want at most %d", advertise, len(parts), maxAddrs)
	}
	nodes := make([]transport.Node, len(parts))
	for i, p := range parts {
		if nodes[i], err = transport.ParseNodeWithPort(p, int(listen.Port())); err != nil {
			return nil, fmt.Errorf("mesh: Config.Advertise %q: want host or host:port: %w", advertise, err)
		}
		if nodes[i].Name() != "" {
			return nil, fmt.Errorf("mesh: Config.Advertise %q: the name before the @ belongs into Config.Name", advertise)
		}
	}
	return nodes, nil
}

// findAddr chooses among this machine's addresses.
func findAddr() (netip.Addr, error) {
	if s, err := sockaddr.GetPrivateIP(); err == nil && s != "" {
		if ip, err := netip.ParseAddr(strings.Fields(s)[0]); err == nil {
			return ip.Unmap(), nil
		}
	}
	if route, err := sockaddr.GetDefaultInterfaces(); err == nil {
		for _, i := range route {
			if ip, ok := firstGlobal(i.Name); ok {
				return ip, nil
			}
		}
	}
	if ip, ok := firstGlobal(""); ok {
		return ip, nil
	}
	return netip.Addr{}, errors.New("mesh: no address of this machine can be advertised: set Config.Advertise (the environment's CLUSTER_ADVERTISE) to the one that the other nodes reach, or Config.Bind (CLUSTER_BIND) to 127.0.0.1 for nodes on this machine only")
}

// firstGlobal returns the first global unicast address of the interface, of
// any if it is empty.
func firstGlobal(name string) (netip.Addr, bool) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, i := range interfaces {
		if name != "" && i.Name != name || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, ip := range interfaceAddrs(&i) {
			if ip.IsGlobalUnicast() {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}

func interfaceAddrs(i *net.Interface) []netip.Addr {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var ips []netip.Addr
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			ips = append(ips, prefix.Addr().Unmap())
		}
	}
	return ips
}

// reachesSelf reports whether dialling addr ends at this node's own listener:
// it is one of the advertised addresses, or one of this machine's under the
// port that is listened on.
func (m *Mesh) reachesSelf(addr string) bool {
	if slices.Contains(m.self.addrs, addr) {
		return true
	}
	target, err := netip.ParseAddrPort(addr)
	if err != nil || target.Port() != m.listen.Port() {
		return false
	}
	bound := m.listen.Addr().Unmap()
	if !bound.IsUnspecified() {
		return target.Addr() == bound
	}
	if target.Addr().IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == target.Addr()
	})
}
