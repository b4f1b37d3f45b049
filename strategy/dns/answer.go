package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster/transport"
)

// read returns what a usable message says that the last name of a chain of
// CNAMEs has of a type. It follows further ones; longer is the chain with those,
// if the message doesn't say what is at its end.
func read(m *miekg.Msg, chain []string, kind uint16) (a answer, longer []string, err error) {
	a = answer{extra: m.Extra, ttl: forever}
	asked := len(chain)
	for {
		name, target := chain[len(chain)-1], ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != miekg.ClassINET || miekg.CanonicalName(h.Name) != name {
				continue
			}
			if h.Rrtype != kind && h.Rrtype != miekg.TypeCNAME {
				continue
			}
			if !complete(rr) {
				return a, nil, fmt.Errorf("a malformed answer: %s has a record without all of its data", h.Name)
			}
			a.ttl = min(a.ttl, seconds(h.Ttl))
			if c, ok := rr.(*miekg.CNAME); ok {
				target = miekg.CanonicalName(c.Target)
			} else {
				a.records = append(a.records, rr)
			}
		}
		switch {
		case target == "" || len(a.records) > 0:
			more, err := a.end(m, len(chain) > asked)
			if !more {
				chain = nil
			}
			return a, chain, err
		case slices.Contains(chain, target):
			return a, nil, fmt.Errorf("its CNAMEs lead in a circle: %s", strings.Join(append(chain, target), " "))
		case len(chain) > maxChain:
			return a, nil, fmt.Errorf("more than %d CNAMEs, the last of which leads to %s", maxChain, target)
		}
		chain = append(chain, target)
	}
}

// complete reports whether a record has all of its data, which the parser doesn't
// insist on.
func complete(rr miekg.RR) bool {
	switch rr := rr.(type) {
	case *miekg.A:
		return len(rr.A) > 0
	case *miekg.AAAA:
		return len(rr.AAAA) > 0
	case *miekg.CNAME:
		return rr.Target != ""
	case *miekg.SRV:
		return rr.Target != ""
	default:
		return false
	}
}

// end notes what follows at the end of a message's CNAMEs, if there are any: more
// is that the message doesn't say.
func (a *answer) end(m *miekg.Msg, moved bool) (more bool, err error) {
	if len(a.records) > 0 {
		if m.Rcode == miekg.RcodeNameError {
			err = fmt.Errorf("NXDOMAIN, but with %d records", len(a.records))
		}
		return false, err
	}
	ttl, denied := negativeTTL(m)
	switch {
	case m.Rcode == miekg.RcodeNameError: // of the last name: RFC 6604, section 3
		a.none = []error{ErrNoName}
	case moved && !denied:
		return true, nil
	default:
		a.none = []error{ErrNoData}
	}
	a.ttl = min(a.ttl, ttl)
	return false, nil
}

// negativeTTL is how long it holds that there are no records, and whether the
// message says so by the zone's SOA (RFC 2308, sections 2 and 5).
func negativeTTL(m *miekg.Msg) (ttl time.Duration, denied bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*miekg.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl)), true
		}
	}
	return forever, false
}

// seconds reads a TTL; one with the highest bit set is zero (RFC 2181, section
// 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// addrsOf are the addresses of records, those of nodes or not.
func addrsOf(records []miekg.RR) (addrs []netip.Addr) {
	for _, rr := range records {
		if addr, ok := addrOf(rr); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func addrOf(rr miekg.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *miekg.A:
		return netip.AddrFromSlice(rr.A)
	case *miekg.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	default:
		return netip.Addr{}, false
	}
}

// sift leaves out records that can't be a node's, such as the address 0.0.0.0,
// and says of each what is wrong.
func (s Strategy) sift(records []miekg.RR, server string) (good []miekg.RR, errs []error) {
	for _, rr := range records {
		if err := s.check(rr); err != nil {
			errs = append(errs, newQueryError(rr.Header().Name, rr.Header().Rrtype, server, err))
		} else {
			good = append(good, rr)
		}
	}
	return good, errs
}

func (s Strategy) check(rr miekg.RR) (err error) {
	if addr, ok := addrOf(rr); ok {
		_, err = transport.ParseNodeWithPort(addr.String(), 1)
	}
	srv, ok := rr.(*miekg.SRV)
	switch {
	case !ok || srv.Target == ".":
	case srv.Port == 0:
		err = fmt.Errorf("%s has port 0", srv.Target)
	case s.Names:
		_, err = transport.ParseNode(s.node(srv.Target, int(srv.Port)))
	}
	return err
}

// targetsOf are the hosts of SRV records, in order, and their ports.
func targetsOf(records []miekg.RR) (ports map[string][]int, targets []string) {
	ports = map[string][]int{}
	for _, rr := range records {
		srv, ok := rr.(*miekg.SRV)
		if !ok || srv.Target == "." {
			continue
		}
		t := miekg.CanonicalName(srv.Target)
		if ports[t] == nil {
			targets = append(targets, t)
		}
		if p := int(srv.Port); !slices.Contains(ports[t], p) {
			ports[t] = append(ports[t], p)
		}
	}
	return ports, targets
}
