package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// read returns what a usable message says that a name has of a type. It follows
// CNAMEs; next is where they lead if the message doesn't say what is there.
func read(m *miekg.Msg, name string, kind uint16) (a answer, next string, err error) {
	a = answer{extra: m.Extra, ttl: forever}
	name = miekg.CanonicalName(name)
	seen := []string{name}
	for {
		target := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != miekg.ClassINET || miekg.CanonicalName(h.Name) != name {
				continue
			}
			if h.Rrtype != kind && h.Rrtype != miekg.TypeCNAME {
				continue
			}
			if !complete(rr) {
				return a, "", fmt.Errorf("a malformed answer: %s has a record without all of its data", h.Name)
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
			return a.end(m, len(seen) > 1, name)
		case slices.Contains(seen, target):
			return a, "", fmt.Errorf("its CNAMEs lead in a circle: %s", strings.Join(append(seen, target), " "))
		case len(seen) > maxChain:
			return a, "", fmt.Errorf("more than %d CNAMEs, the last of which leads to %s", maxChain, target)
		}
		name = target
		seen = append(seen, name)
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

// end says what follows at the end of a message's CNAMEs, if there are any.
func (a answer) end(m *miekg.Msg, moved bool, name string) (_ answer, next string, err error) {
	if len(a.records) > 0 {
		if m.Rcode == miekg.RcodeNameError {
			err = fmt.Errorf("NXDOMAIN, but with %d records", len(a.records))
		}
		return a, "", err
	}
	ttl, denied := negativeTTL(m)
	switch {
	case m.Rcode == miekg.RcodeNameError: // of the last name: RFC 6604, section 3
		a.none = ErrNoName
	case moved && !denied:
		return a, name, nil
	default:
		a.none = ErrNoData
	}
	a.ttl = min(a.ttl, ttl)
	return a, "", nil
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
		var addr netip.Addr
		var ok bool
		switch rr := rr.(type) {
		case *miekg.A:
			addr, ok = netip.AddrFromSlice(rr.A)
		case *miekg.AAAA:
			addr, ok = netip.AddrFromSlice(rr.AAAA)
		}
		if ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
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
