package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
)

// A socket is the link of one address family.
type socket struct {
	cfg   Strategy
	group netip.Addr // of IPv4 broadcast: 0.0.0.0

	// endpoints are one that sends and hears, and further ones that only hear:
	// systems limit how many interfaces one hears a group on (Linux for IPv4 to
	// 20, igmp_max_memberships).
	endpoints []endpoint
	open      func(context.Context) (endpoint, error) // a further one
	list      func() ([]netInterface, error)

	outlets []outlet
	own     atomic.Pointer[map[netip.Addr]bool] // this machine's addresses
	absent  error                               // why there is no outlet
}

// An outlet is an interface that is used.
type outlet struct {
	netInterface

	hears endpoint // by which the group is heard here; nil if none is needed, or can
	deaf  error    // why none can
	mute  error    // why the last packet could not be sent
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
		l, err := newSocket(ctx, s, g, func(ctx context.Context) (endpoint, error) { return s.listen(ctx, g) })
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

func newSocket(ctx context.Context, s Strategy, group netip.Addr, open func(context.Context) (endpoint, error)) (*socket, error) {
	first, err := open(ctx)
	if err != nil {
		return nil, err
	}
	return &socket{cfg: s, group: group, open: open, list: listInterfaces, endpoints: []endpoint{first}}, nil
}

func (l *socket) close() error {
	var errs []error
	for _, e := range l.endpoints {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

func (l *socket) receive(buf []byte) (int, origin, error) { return l.receiveBy(l.endpoints[0], buf) }

func (l *socket) receiveBy(e endpoint, buf []byte) (int, origin, error) {
	n, from, err := e.receive(buf)
	return n, origin{ipv6: l.group.Is6(), local: l.isLocal(from)}, err
}

// A furtherEar is an endpoint but the first.
type furtherEar struct {
	socket   *socket
	endpoint endpoint
}

func (f furtherEar) receive(buf []byte) (int, origin, error) {
	return f.socket.receiveBy(f.endpoint, buf)
}

// isLocal reports whether a packet from ip is of this machine. So is one without
// an address, which Linux sends by loopback if there is no network, and which it
// doesn't take from outside.
func (l *socket) isLocal(ip netip.Addr) bool {
	own := l.own.Load()
	return ip.IsLoopback() || ip.IsUnspecified() || own != nil && (*own)[ip]
}

// refresh hears the group on interfaces that have come. From those that are gone,
// or not to be used any more, the membership is taken back.
func (l *socket) refresh(ctx context.Context) (seen news) {
	c, err := l.cfg.choose()
	if err != nil {
		l.leave(nil)
		l.outlets, l.absent = nil, err
		return news{}
	}
	all, err := l.list()
	if err != nil { // use those from before
		return news{troubles: []trouble{{l.familyName(), err}}}
	}
	own := map[netip.Addr]bool{}
	var usable []netInterface
	for _, i := range all {
		for _, p := range i.prefixes {
			own[p.Addr().WithZone("")] = true
		}
		if i.usable(l.group.Is6(), l.cfg.BroadcastOnly) && c.takes(&i) {
			usable = append(usable, i)
		}
	}
	l.own.Store(&own)
	l.leave(usable) // first, to make room
	outlets := make([]outlet, len(usable))
	for n, i := range usable {
		o := l.outlet(ctx, i, &seen)
		if err := o.trouble(); err != nil && o.toOthers() {
			seen.troubles = append(seen.troubles, trouble{o.Name + " (" + l.familyName() + ")", err})
		}
		outlets[n] = o
	}
	l.outlets = outlets
	l.absent = fmt.Errorf("gossip: no network interface is up that can be used for %s (Interface %q, IfAddr %q)", l.familyName(), l.cfg.Interface, l.cfg.IfAddr)
	return seen
}

// leave takes back the memberships but those on the usable interfaces.
func (l *socket) leave(usable []netInterface) {
	for i := range l.outlets {
		if was := &l.outlets[i]; was.hears != nil && !slices.ContainsFunc(usable, was.same) {
			was.hears.leave(&was.Interface)
		}
	}
}

// outlet has the group be heard on the interface.
func (l *socket) outlet(ctx context.Context, i netInterface, seen *news) outlet {
	o, fresh := outlet{netInterface: i}, true
	if at := slices.IndexFunc(l.outlets, func(was outlet) bool { return was.same(i) }); at >= 0 {
		was := l.outlets[at]
		o.hears, o.mute = was.hears, was.mute
		fresh = was.deaf != nil || was.idle() && !o.idle()
	}
	if l.group.IsMulticast() && o.hears == nil {
		o.hears, o.deaf = l.join(ctx, &o, seen)
	}
	seen.came = seen.came || fresh && o.deaf == nil
	return o
}

// join has an endpoint hear the group on an interface: a further one, if those
// that there are can't.
func (l *socket) join(ctx context.Context, o *outlet, seen *news) (endpoint, error) {
	var err error
	for _, e := range l.endpoints {
		if err = e.join(&o.Interface); err == nil {
			return e, nil
		}
	}
	further, openErr := l.open(ctx)
	if openErr != nil {
		return nil, fmt.Errorf("joining %s: %w", l.group, errors.Join(err, openErr))
	}
	if err := further.join(&o.Interface); err != nil {
		return nil, fmt.Errorf("joining %s: %w", l.group, errors.Join(err, further.close()))
	}
	l.endpoints = append(l.endpoints, further)
	seen.ears = append(seen.ears, furtherEar{l, further})
	return further, nil
}

func (l *socket) familyName() string {
	if l.group.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// send has succeeded when an interface to others took the packet and hears
// theirs, or, if there is none, any interface.
func (l *socket) send(packet []byte) error {
	if len(l.outlets) == 0 {
		return l.absent
	}
	var errs []error
	network, sent, sentLocally := false, false, false
	for i := range l.outlets {
		o := &l.outlets[i]
		o.mute = l.sendBy(o, packet)
		switch err := o.trouble(); {
		case err != nil:
			errs = append(errs, fmt.Errorf("gossip: interface %s: %w", o.Name, err))
		case o.toOthers():
			sent = true
		default:
			sentLocally = true
		}
		network = network || o.toOthers()
	}
	if sent || sentLocally && !network {
		return nil
	}
	return errors.Join(errs...)
}

func (l *socket) sendBy(o *outlet, packet []byte) error {
	to := []netip.Addr{l.group}
	if !l.group.IsMulticast() {
		to = o.broadcasts()
	}
	var errs []error
	for _, ip := range to {
		errs = append(errs, l.endpoints[0].send(&o.Interface, ip, packet))
	}
	return errors.Join(errs...)
}

// trouble is why the outlet is of no use; nil if it is.
func (o *outlet) trouble() error { return errors.Join(o.deaf, o.mute) }
