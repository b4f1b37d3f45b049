package kubernetes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libcluster-go/cluster"
)

// maxBad bounds how many bad pods one error names.
const maxBad = 3

// A naming makes nodes of endpoints: all settings that have to do with that, with
// their defaults.
type naming struct {
	mode            Mode
	basename        string
	port            int // 0: that of the endpoint, which is called portName
	portName        string
	domain          string
	only            Family // OnlyIPv4, OnlyIPv6, or else both count
	prefer6         bool
	includeNotReady bool
	self            pod
	required        string // what there is at least one object of; empty: of nothing
}

// A member is a pod with all its endpoints.
type member struct {
	v4, v6   netip.Addr
	pod      string
	hostname string
	port     int
	state    state
}

// nodes are those of the pods of a namespace, and those to keep; none is this pod.
// Its error names the pods of which no node can be made.
func (n naming) nodes(namespace string, endpoints []endpoint) (nodes, keep []cluster.Node, err error) {
	var errs []error
	for _, m := range members(endpoints) {
		if n.self.is(namespace, m) {
			continue
		}
		node, err := n.node(namespace, m)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("pod %s: %w", m.title(), err))
		case node == "":
		case m.state == ready, m.state == notReady && n.includeNotReady:
			nodes = append(nodes, node)
		default:
			keep = append(keep, node)
		}
	}
	if more := len(errs) - maxBad; more > 0 {
		errs = append(errs[:maxBad], fmt.Errorf("and %d more", more))
	}
	return nodes, keep, errors.Join(errs...)
}

// members has each pod once, in the order in which they come: a pod is in one
// slice for each family, and in two of a family while it moves from one to the
// other.
func members(endpoints []endpoint) []member {
	all := make([]member, 0, len(endpoints))
	index := make(map[string]int, len(endpoints))
	for _, e := range endpoints {
		i, known := index[e.id]
		if !known {
			i = len(all)
			index[e.id] = i
			all = append(all, member{state: e.state})
		}
		m := &all[i]
		if e.addr.Is4() {
			m.v4 = e.addr
		} else {
			m.v6 = e.addr
		}
		if e.pod != "" {
			m.pod = e.pod
		}
		if e.hostname != "" {
			m.hostname = e.hostname
		}
		if e.port != 0 {
			m.port = e.port
		}
		m.state = max(m.state, e.state)
	}
	return all
}

// node is the node of a member, and empty if that has no address that counts.
func (n naming) node(namespace string, m member) (cluster.Node, error) {
	addr := n.address(m)
	if !addr.IsValid() {
		return "", nil
	}
	port := n.port
	if port == 0 {
		port = m.port
	}
	if port == 0 {
		return "", fmt.Errorf("it has no TCP port named %q (PortName)", n.portName)
	}
	host := addr.String()
	switch n.mode {
	case DNS:
		host = strings.NewReplacer(".", "-", ":", "-").Replace(host) + "." + namespace + ".pod." + n.domain
	case Hostname:
		if m.hostname == "" {
			return "", errors.New("it has no hostname (Mode is Hostname); want a StatefulSet behind the headless service that is its serviceName")
		}
		host = m.hostname + "." + namespace + ".svc." + n.domain
	case IP:
	}
	node := net.JoinHostPort(host, strconv.Itoa(port))
	if n.basename != "" {
		node = n.basename + "@" + node
	}
	return cluster.Node(node), nil
}

// address is the one that counts, invalid if there is none.
func (n naming) address(m member) netip.Addr {
	switch {
	case n.only == OnlyIPv4:
		return m.v4
	case n.only == OnlyIPv6:
		return m.v6
	case m.v6.IsValid() && (n.prefer6 || !m.v4.IsValid()):
		return m.v6
	default:
		return m.v4
	}
}

// title is what errors call it.
func (m member) title() string {
	switch {
	case m.pod != "":
		return m.pod
	case m.v4.IsValid():
		return m.v4.String()
	default:
		return m.v6.String()
	}
}
