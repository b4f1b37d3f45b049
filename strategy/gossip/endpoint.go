package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// readBuffer is asked of the kernel, for the answers of many nodes that come
	// at once; it may give less.
	readBuffer = 1 << 20

	// sendTimeout bounds a send by one interface, which hardly ever waits.
	sendTimeout = 20 * time.Millisecond
)

// An endpoint is one UDP socket of an address family. Its methods but receive are
// called from the loop's goroutine; close makes receive return.
type endpoint interface {
	// join has it hear the group on an interface, until leave is called.
	join(i *net.Interface) error
	leave(i *net.Interface)

	// send sends a packet by an interface.
	send(i *net.Interface, to netip.Addr, packet []byte) error

	receive(buf []byte) (n int, from netip.Addr, err error)
	close() error
}

// A multicaster is what ipv4.PacketConn and ipv6.PacketConn have in common.
type multicaster interface {
	JoinGroup(i *net.Interface, group net.Addr) error
	LeaveGroup(i *net.Interface, group net.Addr) error
	SetMulticastInterface(i *net.Interface) error
	SetMulticastLoopback(on bool) error
}

// A udpEndpoint shares its port with all others, and with all processes of the
// machine that gossip by it.
type udpEndpoint struct {
	port  uint16
	group netip.Addr
	conn  *net.UDPConn
	multi multicaster
}

func (s Strategy) listen(ctx context.Context, group netip.Addr) (endpoint, error) {
	network, host := "udp4", "0.0.0.0"
	if group.Is6() {
		network, host = "udp6", "::"
	}
	config := net.ListenConfig{Control: share(group.Is6())}
	conn, err := config.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, fmt.Errorf("gossip: UDP port %d of %s can't be opened: %w", s.Port, host, err)
	}
	e := &udpEndpoint{port: uint16(s.Port), group: group, conn: conn.(*net.UDPConn)} //nolint:forcetypeassert // it is a UDP socket
	if err := e.configure(s.TTL); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: setting up the UDP socket of %s: %w", host, err), conn.Close())
	}
	return e, nil
}

func (e *udpEndpoint) configure(hops int) error {
	_ = e.conn.SetReadBuffer(readBuffer) // the default will do
	var ttl error
	if e.group.Is6() {
		p := ipv6.NewPacketConn(e.conn)
		e.multi, ttl = p, p.SetMulticastHopLimit(hops)
	} else {
		p := ipv4.NewPacketConn(e.conn)
		e.multi, ttl = p, p.SetMulticastTTL(hops)
	}
	return errors.Join(ttl, e.multi.SetMulticastLoopback(true))
}

func (e *udpEndpoint) join(i *net.Interface) error { return e.multi.JoinGroup(i, e.groupAddr()) }

func (e *udpEndpoint) leave(i *net.Interface) {
	_ = e.multi.LeaveGroup(i, e.groupAddr()) // the interface may be gone
}

func (e *udpEndpoint) groupAddr() *net.UDPAddr { return &net.UDPAddr{IP: e.group.AsSlice()} }

func (e *udpEndpoint) send(i *net.Interface, to netip.Addr, packet []byte) error {
	if err := e.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	addr := netip.AddrPortFrom(to, e.port)
	if p, ok := e.multi.(*ipv4.PacketConn); ok && to == limitedBroadcast() { // which names no network
		_, err := p.WriteTo(packet, &ipv4.ControlMessage{IfIndex: i.Index}, net.UDPAddrFromAddrPort(addr))
		return err
	}
	if to.IsMulticast() {
		if err := e.multi.SetMulticastInterface(i); err != nil {
			return err
		}
	}
	_, err := e.conn.WriteToUDPAddrPort(packet, addr)
	return err
}

func (e *udpEndpoint) receive(buf []byte) (int, netip.Addr, error) {
	n, from, err := e.conn.ReadFromUDPAddrPort(buf)
	if err != nil && tooLong(err) {
		return len(buf), netip.Addr{}, nil // its start, as others have it: it is dropped for its length
	}
	return n, from.Addr().Unmap().WithZone(""), err
}

func (e *udpEndpoint) close() error { return e.conn.Close() }
