package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
)

// maxChain is how many CNAMEs are followed.
const maxChain = 8

// An answer is what servers say that a name has of one type.
type answer struct {
	records []miekg.RR
	extra   []miekg.RR // the additional section
	ttl     time.Duration
	none    error // why there are no records, if servers said so well
	err     error // what failed; records are a part of the answer then
}

// lookup finds the nodes of a query: of the first of its names that has any.
// It stops at a name of which that can't be found out, since another name might
// stand for others.
func (c *client) lookup(ctx context.Context, query string) (found result) {
	for _, name := range c.names(query) {
		if c.strategy.SRV {
			found = c.services(ctx, name)
		} else {
			found = c.hosts(ctx, name)
		}
		if found.none == nil || found.err != nil {
			return found
		}
	}
	return found
}

// hosts finds the nodes of a name's addresses.
func (c *client) hosts(ctx context.Context, name string) result {
	a := c.addresses(ctx, name, c.strategy.kinds())
	found := result{ttl: a.ttl, none: a.none, err: a.err}
	for _, addr := range addrsOf(a.records) {
		found.nodes = append(found.nodes, cluster.Node(c.strategy.node(addr.String(), c.strategy.Port)))
	}
	return found
}

// addresses asks for a name's addresses of these types, at once.
func (c *client) addresses(ctx context.Context, name string, kinds []uint16) answer {
	answers := make([]answer, len(kinds))
	side(len(kinds), func(i int) { answers[i] = c.resolve(ctx, name, kinds[i]) })
	both := answer{ttl: forever}
	var errs []error
	for _, a := range answers {
		both.records = append(both.records, a.records...)
		both.ttl = min(both.ttl, a.ttl)
		errs = append(errs, a.err)
		if both.none == nil {
			both.none = a.none
		}
	}
	if both.err = errors.Join(errs...); both.err != nil || len(both.records) > 0 {
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
	found := result{ttl: a.ttl, none: a.none, err: a.err}
	ports, targets := targetsOf(a.records)
	if len(targets) == 0 && len(a.records) > 0 {
		found.none = fmt.Errorf("dns: %s SRV: its target is the root, which means that there is no such service (RFC 2782)", name)
	}
	if c.strategy.Names {
		for _, t := range targets {
			found.add(c.strategy, ports[t], t)
		}
		return found
	}
	known := map[string][]miekg.RR{}
	for _, rr := range a.extra {
		owner := miekg.CanonicalName(rr.Header().Name)
		known[owner] = append(known[owner], rr)
	}
	answers := make([]answer, len(targets))
	side(len(targets), func(i int) { answers[i] = c.target(ctx, targets[i], known[targets[i]]) })
	for i, t := range targets {
		found.ttl = min(found.ttl, answers[i].ttl)
		// A host that is listed, and that can't be found, leaves the answer in part.
		found.err = errors.Join(found.err, answers[i].err, answers[i].none)
		for _, addr := range addrsOf(answers[i].records) {
			found.add(c.strategy, ports[t], addr.String())
		}
	}
	return found
}

// add notes a host's nodes.
func (r *result) add(s Strategy, ports []int, host string) {
	for _, p := range ports {
		r.nodes = append(r.nodes, cluster.Node(s.node(host, p)))
	}
}

// target finds the addresses of an SRV record's host: those in the additional
// section, and what else has to be asked for.
func (c *client) target(ctx context.Context, name string, extra []miekg.RR) answer {
	there, missing := c.strategy.additional(extra)
	if len(missing) == 0 {
		return there
	}
	asked := c.addresses(ctx, name, missing)
	if len(there.records) > 0 {
		asked.none = nil
	}
	asked.records = append(there.records, asked.records...)
	asked.ttl = min(asked.ttl, there.ttl)
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
	asked := name
	for range maxChain {
		m, server, failed := c.ask(ctx, asked, kind)
		if m == nil {
			return answer{ttl: ttl, err: failed}
		}
		a, next, err := read(m, asked, kind)
		ttl = min(ttl, a.ttl)
		wrap := func(err error) error {
			return &QueryError{Name: name, Type: miekg.TypeToString[kind], Server: server, Err: err}
		}
		switch {
		case failed != nil:
			return answer{records: a.records, extra: a.extra, ttl: ttl, err: failed}
		case err != nil:
			return answer{records: a.records, ttl: ttl, err: wrap(err)}
		case next != "":
			asked = next
			continue
		case a.none != nil:
			a.none = wrap(a.none)
		}
		a.ttl = ttl
		return a
	}
	return answer{ttl: ttl, err: fmt.Errorf("dns: %s %s: more than %d CNAMEs, the last of which leads to %s", name, miekg.TypeToString[kind], maxChain, asked)}
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
