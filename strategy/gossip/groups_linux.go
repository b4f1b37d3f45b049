package gossip

import "golang.org/x/sys/unix"

// onlyOwnGroups keeps the packets of groups away that only another process of
// this machine has joined, which Linux delivers by default (ip(7)).
func onlyOwnGroups(fd int, ipv6 bool) error {
	if ipv6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) // since Linux 4.20
		return nil
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
}
