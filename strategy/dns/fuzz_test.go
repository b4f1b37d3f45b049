package dns

import (
	"context"
	"slices"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
)

// A message answers every question with the same bytes, but for the ID.
type message []byte

func (p message) exchange(_ context.Context, _, _ string, query *miekg.Msg) (*miekg.Msg, error) {
	q := slices.Clone(p)
	if len(q) > 1 {
		q[0], q[1] = byte(query.Id>>8), byte(query.Id)
	}
	return decode(q, query)
}

// FuzzAnswer has an answer lead to a whole one only if it is, and to no node that
// it doesn't hold; and one that is cut anywhere mustn't pass for another.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		a2 + a3, soa, "NXDOMAIN" + soa, "SERVFAIL", "tc" + a2, "cut" + a2, "fewer" + a2, "|web. 5 CNAME b.|b. 5 A 10.0.0.2",
		"|web. 5 CNAME web.", "|web. 5 CNAME b.", "-aa", "|web. 5 A 0.0.0.0", "NXDOMAIN" + a2,
	} {
		p, err := pack(newQuery("web.", miekg.TypeA, true), text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p, false, 20)
	}
	for _, text := range []string{"|web. 5 SRV 0 0 1 p.|extra|p. 5 A 10.0.0.2|p. 5 AAAA fd00::1", "|web. 5 SRV 0 0 0 .", "|web. 5 SRV 0 0 1 web."} {
		p, err := pack(newQuery("web.", miekg.TypeSRV, true), text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p, true, 20)
	}
	f.Fuzz(func(t *testing.T, p []byte, srv bool, cut int) {
		s := Strategy{Queries: []string{"web."}, SRV: srv, Network: "ip4", Servers: []string{"10.0.0.53"}, Attempts: 1, Authoritative: true}
		if !srv {
			s.Port = 4370
		}
		whole := replaced(t, s, p)
		if whole != nil {
			checkWhole(t, p, *whole)
		}
		if cut < 0 || cut >= len(p) {
			return
		}
		if part := replaced(t, s, p[:cut]); part != nil && (whole == nil || !slices.Equal(*part, *whole)) {
			t.Errorf("cut to %d bytes, it is the whole answer %q; uncut, it is %v", cut, *part, whole)
		}
	})
}

// replaced returns the nodes of a Replace; nil if there is none.
func replaced(t *testing.T, s Strategy, p message) (nodes *[]cluster.Node) {
	t.Helper()
	r := cluster.NewRoster("", nil, func(c cluster.Change) {
		if c.Kind == cluster.Replaced {
			nodes = &c.Nodes
		}
	})
	tell(r, verdict(true, s.round(t.Context(), p.exchange, new(turns))))
	return nodes
}

func checkWhole(t *testing.T, p []byte, nodes []cluster.Node) {
	t.Helper()
	m := new(miekg.Msg)
	if err := m.Unpack(p); err != nil || m.Truncated || m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError {
		t.Fatalf("it is a whole answer, but %v\n%v", err, m)
	}
	held := map[string]bool{}
	for _, rr := range slices.Concat(m.Answer, m.Extra) {
		if a, ok := rr.(*miekg.A); ok {
			held[a.A.String()] = true
		}
	}
	for _, n := range nodes {
		if !held[n.Host()] {
			t.Errorf("it finds %s in\n%v", n, m)
		}
	}
	if m.Rcode == miekg.RcodeNameError && len(nodes) > 0 {
		t.Errorf("it finds %q in NXDOMAIN", nodes)
	}
}
