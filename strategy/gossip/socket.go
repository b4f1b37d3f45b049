package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// readBuffer is asked of the kernel, for the answers of many nodes that come
	// at once; it may give less.
	readBuffer = 1 << 20

	// sendTimeout bounds a send, which hardly ever waits.
	sendTimeout = 100 * time.Millisecond
)

// A multicaster is what ipv4.PacketConn and ipv6.PacketConn have in common.
type multicaster interface {
	JoinGroup(i *net.Interface, group net.Addr) error
	LeaveGroup(i *net.Interface, group net.Addr) error
	SetMulticastInterface(i *net.Interface) error
	SetMulticastLoopback(on bool) error
}

// A socket is the link of one address family. It sends and hears by one UDP
// socket, which all processes of the machine that gossip by its port share.
type socket struct {
	cfg   Strategy
	group netip.Addr // of IPv4 broadcast: 0.0.0.0
	conn  *net.UDPConn
	multi multicaster

	joined []netInterface                      // that are used now
	own    atomic.Pointer[map[netip.Addr]bool] // this machine's addresses
	absent error                               // why there is none
}

// open returns a link for each address family that is used and that this
// machine has.
func (s Strategy) open(ctx context.Context) ([]link, error) {
	groups, err := s.families()
	if err != nil {
		return nil, err
	}
	c, err := s.choose()
	if err != nil {
		return nil, err
	}
	var links []link
	var errs []error
	for _, g := range groups {
		if !c.family(g.Is6()) {
			continue
		}
		l, err := s.listen(ctx, g)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		links = append(links, l)
	}
	if len(links) > 0 {
		return links, nil
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("gossip: IfAddr is %q, but Groups %q has none of that family", s.IfAddr, s.Groups)
	}
	return nil, errors.Join(errs...)
}

func (s Strategy) listen(ctx context.Context, group netip.Addr) (*socket, error) {
	network, host := "udp4", "0.0.0.0"
	if group.Is6() {
		network, host = "udp6", "::"
	}
	config := net.ListenConfig{Control: share(group.Is6())}
	conn, err := config.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, fmt.Errorf("gossip: UDP port %d of %s can't be opened: %w", s.Port, host, err)
	}
	l := &socket{cfg: s, group: group, conn: conn.(*net.UDPConn)} //nolint:forcetypeassert // it is a UDP socket
	if err := l.configure(); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: setting up the UDP socket of %s: %w", host, err), conn.Close())
	}
	return l, nil
}

func (l *socket) configure() error {
	_ = l.conn.SetReadBuffer(readBuffer) // the default will do
	var ttl error
	if l.group.Is6() {
		p := ipv6.NewPacketConn(l.conn)
		l.multi, ttl = p, p.SetMulticastHopLimit(l.cfg.TTL)
	} else {
		p := ipv4.NewPacketConn(l.conn)
		l.multi, ttl = p, p.SetMulticastTTL(l.cfg.TTL)
	}
	return errors.Join(ttl, l.multi.SetMulticastLoopback(true))
}

func (l *socket) close() error { return l.conn.Close() }

func (l *socket) receive(buf []byte) (int, origin, error) {
	n, from, err := l.conn.ReadFromUDPAddrPort(buf)
	switch {
	case err != nil && tooLong(err):
		return len(buf), origin{}, nil // its start, as others have it: it is dropped for its length
	case err != nil:
		return 0, origin{}, err
	}
	return n, origin{ipv6: l.group.Is6(), local: l.isLocal(from.Addr().Unmap().WithZone(""))}, nil
}

// isLocal reports whether a packet from ip is of this machine. So is one without
// an address, which Linux sends by loopback if there is no network, and which it
// doesn't take from outside.
func (l *socket) isLocal(ip netip.Addr) bool {
	own := l.own.Load()
	return ip.IsLoopback() || ip.IsUnspecified() || own != nil && (*own)[ip]
}

// refresh joins the group on interfaces that have come. Those that have gone
// took their membership with them, and from those that are not to be used any
// more it is taken back.
func (l *socket) refresh() (came bool, err error) {
	c, err := l.cfg.choose()
	if err != nil {
		l.use(nil, err)
		return false, err
	}
	all, err := listInterfaces()
	if err != nil {
		return false, err // use those from before
	}
	own := map[netip.Addr]bool{}
	var usable []netInterface
	var errs []error
	for _, i := range all {
		for _, p := range i.prefixes {
			own[p.Addr().WithZone("")] = true
		}
		if !i.usable(l.group.Is6(), l.cfg.BroadcastOnly) || !c.takes(&i) {
			continue
		}
		if err := l.join(&i); err != nil {
			errs = append(errs, fmt.Errorf("gossip: interface %s: joining %s: %w", i.Name, l.group, err))
			continue
		}
		usable = append(usable, i)
		came = came || !l.uses(&i)
	}
	l.own.Store(&own)
	l.use(usable, errors.Join(errs...))
	return came, errors.Join(errs...)
}

// uses reports whether the interface is used already.
func (l *socket) uses(i *netInterface) bool { return slices.ContainsFunc(l.joined, i.same) }

// use sends by these interfaces from now on. absent says why there is none.
func (l *socket) use(usable []netInterface, absent error) {
	for _, i := range l.joined {
		if !slices.ContainsFunc(usable, i.same) && l.group.IsMulticast() {
			_ = l.multi.LeaveGroup(&i.Interface, l.groupAddr()) // it may be gone
		}
	}
	if absent == nil {
		absent = fmt.Errorf("gossip: no network interface is up that can be used for %s (Interface %q, IfAddr %q)", l.familyName(), l.cfg.Interface, l.cfg.IfAddr)
	}
	l.joined, l.absent = usable, absent
}

func (l *socket) familyName() string {
	if l.group.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func (i *netInterface) same(j netInterface) bool { return i.Index == j.Index && i.Name == j.Name }

func (l *socket) join(i *netInterface) error {
	if !l.group.IsMulticast() || l.uses(i) {
		return nil
	}
	return l.multi.JoinGroup(&i.Interface, l.groupAddr())
}

func (l *socket) groupAddr() *net.UDPAddr { return &net.UDPAddr{IP: l.group.AsSlice()} }

// send has succeeded when an interface to others took the packet, or, if there
// is none, the loopback interface.
func (l *socket) send(packet []byte) error {
	if len(l.joined) == 0 {
		return l.absent
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	var errs []error
	network, sent, sentLocally := false, false, false
	for _, i := range l.joined {
		err := l.sendBy(&i, packet)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("gossip: interface %s: %w", i.Name, err))
		case i.loopback():
			sentLocally = true
		default:
			sent = true
		}
		network = network || !i.loopback()
	}
	if sent || sentLocally && !network {
		return nil
	}
	return errors.Join(errs...)
}

func (l *socket) sendBy(i *netInterface, packet []byte) error {
	port := uint16(l.cfg.Port)
	if l.group.IsMulticast() {
		if err := l.multi.SetMulticastInterface(&i.Interface); err != nil {
			return err
		}
		_, err := l.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(l.group, port))
		return err
	}
	var errs []error
	for _, to := range i.broadcasts() {
		_, err := l.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(to, port))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
