package mesh

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/libcluster-go/cluster/transport"
)

const maxClaimsFrame = 16 << 10

// A claim is one entry of a peers frame: the sender is linked with an instance,
// or isn't any more.
type claim struct {
	linked bool
	id     instanceID
	addrs  []string
}

func (p *peer) claim(linked bool) claim {
	c := claim{linked: linked, id: p.hello.instance}
	if linked {
		c.addrs = p.hello.addrs
	}
	return c
}

// encodeClaims lays claims out in as many payloads as they need. An entry is its
// length, a byte that is 1 for a link and 0 for the end of one, the instance and
// the addresses; what a newer version appends to an entry is skipped. What its
// readers would refuse is left out: whom this node is linked with may have said
// anything of itself, which is no reason to lose those who are told of it.
func encodeClaims(claims []claim) (frames [][]byte) {
	var b, entry []byte
	for _, c := range claims {
		entry = append(entry[:0], 0)
		if c.linked {
			entry[0] = 1
		}
		entry = append(entry, c.id[:]...)
		entry = appendStrings(entry, c.addrs[:min(len(c.addrs), maxAddrs)])
		if 2+len(entry) > maxClaimsFrame {
			continue
		}
		if len(b) > 0 && len(b)+2+len(entry) > maxClaimsFrame {
			frames = append(frames, b)
			b = nil
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(entry)))
		b = append(b, entry...)
	}
	if len(b) > 0 {
		frames = append(frames, b)
	}
	return frames
}

func decodeClaims(payload []byte) ([]claim, error) {
	var claims []claim
	for d := (decoder{what: "peers", rest: payload}); len(d.rest) > 0; {
		e := decoder{what: "peers", rest: d.block()}
		var c claim
		c.linked = e.bytes(1)[0] == 1
		copy(c.id[:], e.bytes(len(c.id)))
		addrs := e.strings(maxAddrs)
		if d.err != nil || e.err != nil {
			return nil, errors.Join(d.err, e.err)
		}
		for _, a := range addrs {
			a, err := canonicalAddr(a)
			if err != nil {
				return nil, malformed("peers", err)
			}
			if !slices.Contains(c.addrs, a) {
				c.addrs = append(c.addrs, a)
			}
		}
		if c.linked && len(c.addrs) == 0 {
			return nil, malformed("peers", errors.New("an instance without an address"))
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// canonicalAddr returns the address to dial of a node. While a mesh forms, each
// node is told of each other by all, in canonical form already: that is seen
// without parsing it as a node.
func canonicalAddr(s string) (string, error) {
	if isCanonicalIP(s) {
		return s, nil
	}
	n, err := transport.ParseNode(s)
	return n.Addr(), err
}

// isCanonicalIP reports whether s is a unicast IP address and a port as
// [transport.ParseNode] would write them.
func isCanonicalIP(s string) bool {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().Is4In6() || a.Addr().Zone() != "" {
		return false
	}
	if !a.Addr().IsGlobalUnicast() && !a.Addr().IsLoopback() {
		return false
	}
	var text [len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")]byte
	return string(a.AppendTo(text[:0])) == s
}
