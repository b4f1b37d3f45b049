package dns

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
)

// maxChain is how many CNAMEs are followed, in one answer and by asking again
// together.
const maxChain = 8

// errNoService is what an SRV record says whose target is the root.
var errNoService = errors.New("the root is its target, which means that there is no such service (RFC 2782)")

// An answer is what servers say that a name has of one type.
type answer struct {
	server  string // who gave it
	records []miekg.RR
	extra   []miekg.RR // the additional section
	ttl     time.Duration
	none    []error // why there are no records, if servers said so well
	errs    []error // what failed; records are a part of the answer then
}

// lookup finds the nodes of a query: of the first of its names that has any.
// Where answers are authoritative, it stops at a name of which that can't be
// found out, since another name might stand for others.
func (c *client) lookup(ctx context.Context, query string) result {
	all := result{ttl: forever}
	for _, name := range c.names(query) {
		found := c.find(ctx, name)
		all.nodes = found.nodes
		all.ttl = min(all.ttl, found.ttl)
		all.errs = append(all.errs, found.errs...)
		if len(found.nodes) > 0 {
			all.none = nil
			return all
		}
		if len(found.errs) > 0 && c.strategy.Authoritative {
			return all
		}
		all.none = append(all.none, found.none...)
	}
	return all
}

// find finds the nodes of a name.
func (c *client) find(ctx context.Context, name string) result {
	if c.strategy.SRV {
		return c.services(ctx, name)
	}
	return c.hosts(ctx, name)
}

// hosts finds the nodes of a name's addresses.
func (c *client) hosts(ctx context.Context, name string) result {
	a := c.addresses(ctx, name, c.strategy.kinds())
	found := result{ttl: a.ttl, none: a.none, errs: a.errs}
	for _, addr := range addrsOf(a.records) {
		found.add(c.strategy, addr.String(), c.strategy.Port)
	}
	return found
}

// addresses asks for a name's addresses of these types, at once.
func (c *client) addresses(ctx context.Context, name string, kinds []uint16) answer {
	answers := make([]answer, len(kinds))
	side(len(kinds), func(i int) { answers[i] = c.resolve(ctx, name, kinds[i]) })
	both := answer{ttl: forever}
	for _, a := range answers {
		both.records = append(both.records, a.records...)
		both.ttl = min(both.ttl, a.ttl)
		both.none = append(both.none, a.none...)
		both.errs = append(both.errs, a.errs...)
	}
	if len(both.errs) > 0 || len(both.records) > 0 {
		both.none = nil
	}
	return both
}

// kinds are the types of the addresses that are asked for.
func (s Strategy) kinds() []uint16 {
	switch s.Network {
	case "ip4":
		return []uint16{miekg.TypeA}
	case "ip6":
		return []uint16{miekg.TypeAAAA}
	default:
		return []uint16{miekg.TypeA, miekg.TypeAAAA}
	}
}

// services finds the nodes of a name's SRV records.
func (c *client) services(ctx context.Context, name string) result {
	a := c.resolve(ctx, name, miekg.TypeSRV)
	found := result{ttl: a.ttl, none: a.none, errs: a.errs}
	ports, targets := targetsOf(a.records)
	if len(targets) == 0 && len(a.records) > 0 {
		found.none = []error{newQueryError(name, miekg.TypeSRV, a.server, errNoService)}
	}
	if c.strategy.Names {
		for _, t := range targets {
			found.add(c.strategy, t, ports[t]...)
		}
		return found
	}
	known := map[string][]miekg.RR{}
	for _, rr := range a.extra {
		owner := miekg.CanonicalName(rr.Header().Name)
		known[owner] = append(known[owner], rr)
	}
	answers := make([]answer, len(targets))
	side(len(targets), func(i int) { answers[i] = c.target(ctx, targets[i], a.server, known[targets[i]]) })
	for i, t := range targets {
		found.ttl = min(found.ttl, answers[i].ttl)
		// A host that is listed, and that can't be found, leaves the answer in part.
		found.errs = slices.Concat(found.errs, answers[i].errs, answers[i].none)
		for _, addr := range addrsOf(answers[i].records) {
			found.add(c.strategy, addr.String(), ports[t]...)
		}
	}
	return found
}

// add notes a host's nodes.
func (r *result) add(s Strategy, host string, ports ...int) {
	for _, p := range ports {
		r.nodes = append(r.nodes, cluster.Node(s.node(host, p)))
	}
}

// target finds the addresses of an SRV record's host: those in the additional
// section of a server's answer, and what else has to be asked for.
func (c *client) target(ctx context.Context, name, server string, extra []miekg.RR) answer {
	extra, wrong := c.strategy.sift(extra, server)
	there, missing := c.strategy.additional(extra)
	there.errs = wrong
	if len(missing) == 0 {
		return there
	}
	asked := c.addresses(ctx, name, missing)
	if len(there.records) > 0 {
		asked.none = nil
	}
	asked.records = append(there.records, asked.records...)
	asked.ttl = min(asked.ttl, there.ttl)
	asked.errs = append(there.errs, asked.errs...)
	return asked
}

// additional returns the addresses among the records of a host, and the types
// that have to be asked for. Whole sets of records may be left out of an
// additional section without a word (RFC 2181, section 9): it never says that a
// host has none of a type.
func (s Strategy) additional(records []miekg.RR) (there answer, missing []uint16) {
	there.ttl = forever
	for _, kind := range s.kinds() {
		before := len(there.records)
		for _, rr := range records {
			if h := rr.Header(); h.Class == miekg.ClassINET && h.Rrtype == kind && complete(rr) {
				there.ttl = min(there.ttl, seconds(h.Ttl))
				there.records = append(there.records, rr)
			}
		}
		if len(there.records) == before {
			missing = append(missing, kind)
		}
	}
	if !s.Authoritative && len(there.records) > 0 {
		return there, nil // hints may lack some
	}
	return there, missing
}

// resolve asks what a name has of a type, and follows CNAMEs out of an answer.
func (c *client) resolve(ctx context.Context, name string, kind uint16) answer {
	ttl := forever
	chain := []string{miekg.CanonicalName(name)}
	for asked := name; ; asked = chain[len(chain)-1] {
		m, server, errs := c.ask(ctx, asked, kind)
		if m == nil {
			return answer{ttl: ttl, errs: errs}
		}
		a, longer, err := read(m, chain, kind)
		ttl = min(ttl, a.ttl)
		if longer != nil && len(errs) == 0 {
			chain = longer
			continue
		}
		if err != nil {
			errs = append(errs, newQueryError(name, kind, server, err))
		}
		a.server, a.ttl = server, ttl
		var wrong []error
		a.records, wrong = c.strategy.sift(a.records, server)
		a.errs = slices.Concat(errs, wrong)
		for i, none := range a.none {
			a.none[i] = newQueryError(name, kind, server, none)
		}
		if len(a.errs) > 0 {
			a.none = nil
		}
		return a
	}
}

// node writes a node, which need not be a good one.
func (s Strategy) node(host string, port int) string {
	return s.named(net.JoinHostPort(host, strconv.Itoa(port)))
}

// named puts the base name before an address.
func (s Strategy) named(addr string) string {
	if s.Basename == "" {
		return addr
	}
	return s.Basename + "@" + addr
}
