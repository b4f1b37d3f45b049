package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/go-sockaddr/template"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/secret"
	"github.com/libcluster-go/cluster/transport"
)

// What Strategy's fields are when they are zero.
const (
	DefaultPort  = 45892
	DefaultGroup = "233.252.1.32"
	// DefaultGroup6 is a transient group of link-local scope (RFC 4291, section
	// 2.7), with an identifier from the range for those (RFC 3307, section 4.3).
	DefaultGroup6 = "ff12::8000:b344"

	defaultCluster     = "default"
	defaultTTL         = 1
	defaultInterval    = 5 * time.Second
	defaultMaxNewNodes = 100
	defaultMaxNodes    = 500
	minInterval        = 10 * time.Millisecond
)

// Strategy discovers the nodes that can be heard on the local network. Only
// Secrets (or an explicit Insecure) has to be given.
type Strategy struct {
	// Cluster is the name of the cluster: packets of others are dropped. At
	// most 255 bytes; empty means "default".
	Cluster string

	// Secrets keep the packets from others' eyes, and others' packets from us.
	// What is sent is sealed with each of them, and all are accepted, so that a
	// secret is changed in two steps, as a mesh's: [new, old] everywhere, then
	// [new]. Each has at least 16 bytes and at least 8 different ones, such as
	// that of `openssl rand -base64 32`.
	Secrets []string

	// Insecure sends in the clear and believes everybody: whoever reaches the
	// network can read who is there, and have nodes dialled and given up. It
	// can't be set beside Secrets.
	Insecure bool

	// Port is the UDP port, the same on all nodes. Several nodes of one machine
	// share it. Zero means 45892.
	Port int

	// Groups are the multicast groups, at most one of each address family: a
	// family without one isn't used. Nil means 233.252.1.32 and
	// ff12::8000:b344, which no router forwards.
	Groups []string

	// TTL is how many hops a multicast packet may make: it passes TTL-1 routers,
	// if they route multicast at all. Zero means 1, the local network; at most
	// 255.
	TTL int

	// BroadcastOnly is for networks that lose multicast: packets go to the
	// broadcast address of each interface's IPv4 networks, or to 255.255.255.255
	// if it has none but of one or two hosts (/32 and /31), and for IPv6 to the
	// group of all hosts, ff02::1, which no switch filters. Groups must be nil
	// then, and TTL isn't used.
	BroadcastOnly bool

	// Interface is which network interfaces are used: a name, an address of
	// one, or a go-sockaddr template that finds either, such as
	// {{ GetPrivateInterfaces | attr "name" }}; several are separated by spaces.
	// Empty means all that are up and can multicast (or broadcast), loopback
	// included, so that nodes on one machine find each other without a network.
	// They are looked for again every 5 seconds. One by which nothing can be sent
	// or heard is logged, and is a failure only if there is no other.
	Interface string

	// IfAddr is libcluster's if_addr: an IP address of this machine, or a
	// go-sockaddr template that finds one. Only its family is used, and only the
	// interface that has it; 0.0.0.0 and :: are all interfaces of that family.
	// Empty means both families.
	IfAddr string

	// Advertise are the nodes that this one is known as to others: the first is
	// its name, and the others are more of its addresses, for other families
	// (dual stack). At most 16. Nil means what the transport calls itself, which
	// is what most want; it must be set if the transport doesn't know.
	Advertise []cluster.Node

	// Interval is between two announcements, give or take a fifth. A newcomer is
	// answered at once, so that only one whose first packets were all lost waits
	// for it. A shorter one costs all nodes more: a packet of some 70 bytes for
	// each address family, which all others open. Among 10 nodes, an idle one
	// sends 2 KB a minute, hears 15 KB, and takes 5 ms of CPU for that
	// (BenchmarkIdle). Zero means 5 seconds; at least 10 ms.
	Interval time.Duration

	// MaxNewNodes is how many nodes that were not known a second are passed on,
	// and so dialled: the others wait for their turn. 100, the default that zero
	// means, lets a newcomer know a cluster of 100 at once. It says nothing of the
	// dials that follow where a node can't be reached: MaxNodes does.
	MaxNewNodes int

	// MaxNodes is how many nodes are passed on in all: those that are heard, and
	// those that were in the last 10 minutes and have not said farewell. One that
	// can't be reached is dialled every 15 seconds on average, for as long as its
	// hint lives (cluster.WithHintTTL, 10 minutes). So whoever forges nodes, in an
	// insecure cluster or with the secret, can have about MaxNodes/12 a second
	// dialled in the long run, 40 by default; in proportion more with a longer
	// WithHintTTL. More nodes are not passed on until there is room, which is
	// logged: a forger can keep newcomers out, but nobody that is known already.
	// Zero means 500; a larger cluster needs more.
	MaxNodes int

	// Stats, if not nil, counts what is sent, heard and dropped.
	Stats *Stats
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right. It shows no
// secret.
func (s Strategy) Validate() error {
	s = s.withDefaults()
	_, groupErr := s.families()
	return errors.Join(s.checkSecrets(), s.checkNumbers(), groupErr, s.checkInterfaces(), s.checkAdvertise())
}

// Equal implements the optional method of [cluster.Strategy]: the Stats are the
// same if they are in the same place, whatever they count.
func (s Strategy) Equal(other cluster.Strategy) bool {
	o, ok := other.(Strategy)
	if !ok || s.Stats != o.Stats {
		return false
	}
	s.Stats, o.Stats = nil, nil
	return reflect.DeepEqual(s, o)
}

// Run implements [cluster.Strategy]: it adds the nodes that it hears until ctx is
// done, and then tells the others that this one leaves. Its error says that no
// socket could be opened, or that one broke.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s = s.withDefaults()
	links, err := s.open(ctx)
	if ctx.Err() != nil {
		return closeAll(links)
	}
	if err != nil {
		return err
	}
	return s.run(ctx, r, links)
}

// withDefaults returns a copy with zero fields filled.
func (s Strategy) withDefaults() Strategy {
	setDefault(&s.Cluster, defaultCluster)
	setDefault(&s.Port, DefaultPort)
	setDefault(&s.TTL, defaultTTL)
	setDefault(&s.Interval, defaultInterval)
	setDefault(&s.MaxNewNodes, defaultMaxNewNodes)
	setDefault(&s.MaxNodes, defaultMaxNodes)
	if s.Stats == nil {
		s.Stats = new(Stats)
	}
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (s Strategy) checkSecrets() error {
	switch {
	case s.Insecure && len(s.Secrets) > 0:
		return fmt.Errorf("gossip: Insecure is true and Secrets has %d: set one of the two", len(s.Secrets))
	case !s.Insecure && len(s.Secrets) == 0:
		return errors.New("gossip: Secrets is empty: give every node the same secret, such as that of `openssl rand -base64 32`, or set Insecure to believe everybody on the network")
	}
	for i, text := range s.Secrets {
		if err := secret.Check(text); err != nil {
			return fmt.Errorf("gossip: Secrets[%d] %w; `openssl rand -base64 32` makes a good one", i, err)
		}
	}
	return nil
}

func (s Strategy) checkNumbers() error {
	var errs []error
	if len(s.Cluster) > maxCluster {
		errs = append(errs, fmt.Errorf("gossip: Cluster has %d bytes; want at most %d", len(s.Cluster), maxCluster))
	}
	if s.Port < 1 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("gossip: Port is %d; want 1 to 65535, or zero for %d", s.Port, DefaultPort))
	}
	if s.TTL < 1 || s.TTL > 255 {
		errs = append(errs, fmt.Errorf("gossip: TTL is %d; want 1 to 255, or zero for %d", s.TTL, defaultTTL))
	}
	if s.Interval < minInterval {
		errs = append(errs, fmt.Errorf("gossip: Interval is %s; want at least %s, or zero for %s", s.Interval, minInterval, defaultInterval))
	}
	if s.MaxNewNodes < 1 {
		errs = append(errs, fmt.Errorf("gossip: MaxNewNodes is %d; want at least 1 a second, or zero for %d", s.MaxNewNodes, defaultMaxNewNodes))
	}
	if s.MaxNodes < 1 {
		errs = append(errs, fmt.Errorf("gossip: MaxNodes is %d; want at least 1, or zero for %d", s.MaxNodes, defaultMaxNodes))
	}
	return errors.Join(errs...)
}

// families returns the group of each address family that is used.
func (s Strategy) families() ([]netip.Addr, error) {
	if s.BroadcastOnly {
		if s.Groups != nil {
			return nil, fmt.Errorf("gossip: BroadcastOnly is true and Groups is %q: set one of the two", s.Groups)
		}
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6LinkLocalAllNodes()}, nil
	}
	texts := s.Groups
	if texts == nil {
		texts = []string{DefaultGroup, DefaultGroup6}
	}
	var groups []netip.Addr
	for i, text := range texts {
		g, err := netip.ParseAddr(text)
		if err != nil || !g.IsMulticast() || g.Zone() != "" {
			return nil, fmt.Errorf("gossip: Groups[%d] is %q; want a multicast address, such as %s or %s", i, text, DefaultGroup, DefaultGroup6)
		}
		if len(groups) > 0 && groups[0].Is4() == g.Is4() || len(groups) > 1 {
			return nil, fmt.Errorf("gossip: Groups is %q; want at most one of each address family", s.Groups)
		}
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("gossip: Groups is empty; want a multicast address, or nil for %s and %s", DefaultGroup, DefaultGroup6)
	}
	return groups, nil
}

func (s Strategy) checkInterfaces() error {
	_, interfaceErr := expand("Interface", s.Interface)
	found, addrErr := expand("IfAddr", s.IfAddr)
	if addrErr == nil && !strings.Contains(s.IfAddr, "{{") && found != "" {
		if _, err := netip.ParseAddr(found); err != nil {
			addrErr = fmt.Errorf("gossip: IfAddr is %q; want an IP address of this machine, or a go-sockaddr template: %w", s.IfAddr, err)
		}
	}
	return errors.Join(interfaceErr, addrErr)
}

// expand runs the go-sockaddr templates in text, which may be none.
func expand(field, text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return strings.TrimSpace(text), nil
	}
	out, err := template.Parse(text)
	if err != nil {
		return "", fmt.Errorf("gossip: %s is %q, which is not a go-sockaddr template: %w", field, text, err)
	}
	return strings.TrimSpace(out), nil
}

func (s Strategy) checkAdvertise() error {
	if len(s.Advertise) == 0 {
		return nil
	}
	nodes, err := canonical(s.Advertise)
	if err != nil {
		return err
	}
	return message{cluster: s.Cluster, nodes: nodes}.check()
}

func canonical(nodes []cluster.Node) ([]cluster.Node, error) {
	clean := make([]cluster.Node, len(nodes))
	for i, n := range nodes {
		var err error
		if clean[i], err = transport.ParseNode(string(n)); err != nil {
			return nil, fmt.Errorf("gossip: Advertise[%d]: %w", i, err)
		}
	}
	return clean, nil
}
