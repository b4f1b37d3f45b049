package mesh

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/libcluster-go/cluster/transport"
)

// A route is where goes what is sent to a node.
type route struct {
	peer *peer
	link *link // that the peer has just now; nil if it has none
}

// routes are those to all peers that are up, by each of their names. They aren't
// changed: once they aren't true any more, they are made anew by the next that
// sends. So sending takes no lock that all senders share.
type routes map[transport.Node]route

// route finds the peer that a node's name means.
func (m *Mesh) route(n transport.Node) (route, error) {
	if all := m.routes.Load(); all != nil {
		if r, ok := (*all)[n]; ok {
			return r, nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return route{}, ErrClosed
	}
	if m.routes.Load() == nil {
		all := m.allRoutes()
		m.routes.Store(&all)
	}
	if found := m.find(n); len(found) > 0 {
		return route{found[0], found[0].active}, nil
	}
	addr := n.Addr()
	switch {
	case slices.Contains(m.self.addrs, addr):
		return route{}, transport.ErrSelf
	case m.departed[addr], m.rumours.isLost(addr):
		return route{}, fmt.Errorf("%w: %w", ErrNoNode, ErrDown)
	default:
		return route{}, ErrNoNode
	}
}

// allRoutes returns the routes as they are now. The caller holds mu.
func (m *Mesh) allRoutes() routes {
	all := make(routes, 2*len(m.peers))
	add := func(n transport.Node) {
		if found := m.find(n); len(found) > 0 {
			all[n] = route{found[0], found[0].active}
		}
	}
	for _, p := range m.peers {
		add(p.hello.node)
		for _, a := range p.hello.addrs {
			add(transport.Node(a))
		}
	}
	for alias := range m.aliases {
		add(transport.Node(alias))
	}
	return all
}

// linksChanged is called when peers or their links have changed. The caller holds
// mu.
func (m *Mesh) linksChanged() {
	m.routes.Store(nil)
	m.changed.Ring()
}

// find returns the peers that are up and go by n, by an address or an alias.
// The caller holds mu.
func (m *Mesh) find(n transport.Node) []*peer {
	var found []*peer
	if p := m.byAddr[n.Addr()]; p != nil && p.up {
		found = append(found, p)
	}
	for instance := range m.aliases[n.Addr()] {
		if p := m.peers[instance]; p != nil && p.up && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *peer) int { return cmp.Compare(a.hello.node, b.hello.node) })
	return found
}
