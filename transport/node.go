package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A Node names one instance of a service by where it can be reached:
// "host:port" or "name@host:port", with IPv6 addresses in brackets. Two nodes
// are the same if their canonical forms, which [ParseNode] makes, are equal.
type Node string

// Bounds of the parts of a Node. Names of hosts and their labels follow RFC
// 1035, section 2.3.4.
const (
	maxName  = 255
	maxHost  = 253
	maxLabel = 63
	maxZone  = 64 // more than any system's interfaces have
)

// ParseNode returns the canonical form of s: the host in lower case and without
// a trailing dot, IPv6 in its shortest form (RFC 5952), IPv4-mapped addresses
// as IPv4, the port in plain decimals. The name before the @ stays as it is.
// Its error quotes s and says what is wrong with it.
func ParseNode(s string) (Node, error) { return ParseNodeWithPort(s, 0) }

// ParseNodeWithPort is [ParseNode] for input in which the port may be left
// out: defaultPort serves then, and an IPv6 address may stand without
// brackets. A defaultPort of 0 means that there is none.
func ParseNodeWithPort(s string, defaultPort int) (Node, error) {
	n, err := parseNode(s, defaultPort)
	if err != nil {
		return "", fmt.Errorf("transport: node %q: %w", s, err)
	}
	return n, nil
}

func parseNode(s string, defaultPort int) (Node, error) {
	name, addr, named := cutName(s)
	if named {
		if err := checkName(name); err != nil {
			return "", err
		}
	}
	host, port, err := splitHostPort(addr, defaultPort)
	if err != nil {
		return "", err
	}
	host, err = canonicalHost(host)
	if err != nil {
		return "", err
	}
	n := net.JoinHostPort(host, strconv.Itoa(port))
	if named {
		n = name + "@" + n
	}
	return Node(n), nil
}

// Name returns the part before the @, empty if there is none.
func (n Node) Name() string {
	name, _, _ := cutName(string(n))
	return name
}

// Addr returns "host:port", the address to dial.
func (n Node) Addr() string {
	_, addr, _ := cutName(string(n))
	return addr
}

// Host returns the host without brackets: an IP address or a name.
func (n Node) Host() string {
	host, _, err := net.SplitHostPort(n.Addr())
	if err != nil {
		return ""
	}
	return host
}

// Port returns the port, 0 if n isn't valid.
func (n Node) Port() int {
	_, port, err := net.SplitHostPort(n.Addr())
	if err != nil {
		return 0
	}
	p, err := parsePort(port)
	if err != nil {
		return 0
	}
	return p
}

// IP returns the host as an address, and whether it is one. A host that is a
// name has to be resolved, and may stand for several addresses.
func (n Node) IP() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(n.Host())
	return ip, err == nil
}

func cutName(s string) (name, addr string, named bool) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name before the @ is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name before the @ has %d bytes, more than %d", len(name), maxName)
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == '@' || r == '\uFFFD' {
			return fmt.Errorf("the name before the @ holds %q; spaces, control characters and @ can't be part of it", r)
		}
	}
	return nil
}

func splitHostPort(addr string, defaultPort int) (host string, port int, err error) {
	if defaultPort != 0 {
		if ip, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil {
			return ip.String(), defaultPort, nil
		}
		if !strings.Contains(addr, ":") {
			return addr, defaultPort, nil
		}
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		if ae, ok := errors.AsType[*net.AddrError](err); ok {
			return "", 0, fmt.Errorf("%s; want host:port or name@host:port, with IPv6 in brackets", ae.Err)
		}
		return "", 0, err
	}
	port, err = parsePort(text)
	return host, port, err
}

func parsePort(text string) (int, error) {
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil || p == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	return int(p), nil
}

func canonicalHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		if ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return "", fmt.Errorf("host %s is not the address of one node", ip)
		}
		if zone := ip.Zone(); len(zone) > maxZone || strings.ContainsFunc(zone, notInZone) {
			return "", fmt.Errorf("the zone %.70q of the address is not the name of an interface", zone)
		}
		return ip.String(), nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" {
		return "", errors.New("the host is empty")
	}
	if len(host) > maxHost {
		return "", fmt.Errorf("the host has %d bytes, more than %d", len(host), maxHost)
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("host %q is neither an IP address nor a name, which can't end in a number", host)
	}
	return host, nil
}

// notInZone reports what the name of a network interface doesn't hold: what
// would be taken for another part of the node, and what can't be seen.
func notInZone(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("%[]@:/", r)
}

// checkLabel allows underscores, which RFC 1035 doesn't and real names have.
func checkLabel(label string) error {
	if label == "" {
		return errors.New("the host has an empty label")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("the host's label %q has %d bytes, more than %d", label, len(label), maxLabel)
	}
	for _, c := range label {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c > 0x7f:
			return fmt.Errorf("the host holds %q; write international names in their xn-- form", c)
		default:
			return fmt.Errorf("the host holds %q, which no host name can", c)
		}
	}
	return nil
}
