package dns

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

// summary prints what a roster is told, as "Replace a b", "Add a", "Fail".
func summary(said []cluster.Change) (texts []string, failure error) {
	for _, c := range said {
		text := c.Kind.String()
		for _, n := range slices.Sorted(slices.Values(c.Nodes)) {
			text += " " + strings.TrimSuffix(string(n), ":4370")
		}
		texts = append(texts, text)
		if c.Err != nil {
			failure = c.Err
		}
	}
	return texts, failure
}

func TestVerdict(t *testing.T) {
	none, bad := errors.New("nobody"), errors.New("broken")
	nones, bads := []error{none}, []error{bad}
	web, db := []cluster.Node{"10.0.0.2:4370"}, []cluster.Node{"10.0.0.3:4370"}
	for name, tt := range map[string]struct {
		results              []result
		hints, authoritative []string
		says                 []error
	}{
		"a good answer":        {[]result{{nodes: web}}, []string{"Add 10.0.0.2"}, []string{"Replace 10.0.0.2"}, nil},
		"two":                  {[]result{{nodes: web}, {nodes: db}}, []string{"Add 10.0.0.2 10.0.0.3"}, []string{"Replace 10.0.0.2 10.0.0.3"}, nil},
		"nobody":               {[]result{{none: nones}}, []string{"Fail"}, []string{"Replace"}, []error{none}},
		"nobody twice":         {[]result{{none: nones}, {none: nones}}, []string{"Fail"}, []string{"Replace"}, []error{none}},
		"a failure":            {[]result{{errs: bads}}, []string{"Fail"}, []string{"Fail"}, []error{bad}},
		"a part":               {[]result{{nodes: web, errs: bads}}, []string{"Add 10.0.0.2", "Fail"}, []string{"Add 10.0.0.2", "Fail"}, []error{bad}},
		"one good, one bad":    {[]result{{nodes: web}, {errs: bads}}, []string{"Add 10.0.0.2", "Fail"}, []string{"Add 10.0.0.2", "Fail"}, []error{bad}},
		"one bad, one part":    {[]result{{errs: bads}, {nodes: db, errs: bads}}, []string{"Add 10.0.0.3", "Fail"}, []string{"Add 10.0.0.3", "Fail"}, []error{bad}},
		"one good, one nobody": {[]result{{nodes: web}, {none: nones}}, []string{"Add 10.0.0.2", "Fail"}, []string{"Replace 10.0.0.2"}, []error{none}},
		"one bad, one nobody":  {[]result{{errs: bads}, {none: nones}}, []string{"Fail"}, []string{"Fail"}, []error{bad}},
		"two bad":              {[]result{{errs: bads}, {errs: nones}}, []string{"Fail"}, []string{"Fail"}, []error{bad, none}},
	} {
		t.Run(name, func(t *testing.T) {
			for authoritative, want := range map[bool][]string{false: tt.hints, true: tt.authoritative} {
				got, err := summary(verdict(authoritative, tt.results))
				if !slices.Equal(got, want) {
					t.Errorf("authoritative %v: the roster is told %q, want %q", authoritative, got, want)
				}
				if fails := slices.Contains(want, "Fail"); fails != (err != nil) {
					t.Errorf("authoritative %v: the error is %v", authoritative, err)
				}
				for _, say := range tt.says {
					if err != nil && !errors.Is(err, say) {
						t.Errorf("authoritative %v: the error %v leaves out %v", authoritative, err, say)
					}
				}
			}
		})
	}
}

// A shape is what servers say, and what follows from that.
type shape struct {
	says          map[string]string
	hints         string // what a roster is told, "; " between
	authoritative string
	error         []string // what the failure says, if there is one
}

const (
	a2, a3 = "|web. 5 A 10.0.0.2", "|web. 5 A 10.0.0.3"
	aaaa2  = "|web. 5 AAAA fd00::2"
	fails  = "Fail"
)

// oneFamily has A answered well and AAAA as said.
func oneFamily(text string) map[string]string {
	return map[string]string{"web. A": a2, "web. AAAA": text}
}

func shapes() map[string]shape {
	const part = "Add 10.0.0.2; Fail"
	all := map[string]shape{
		"both families":                    {oneFamily(aaaa2), "Add 10.0.0.2 [fd00::2]", "Replace 10.0.0.2 [fd00::2]", nil},
		"several addresses":                {map[string]string{"web. A": a3 + a2}, "Add 10.0.0.2 10.0.0.3", "Replace 10.0.0.2 10.0.0.3", nil},
		"AAAA has no data":                 {oneFamily(soa), "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"AAAA doesn't exist":               {oneFamily("NXDOMAIN" + soa), "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"A has no data":                    {map[string]string{"web. AAAA": aaaa2}, "Add [fd00::2]", "Replace [fd00::2]", nil},
		"no data":                          {nil, fails, "Replace", []string{"web. A, AAAA from 10.0.0.53:53: NOERROR, but no records"}},
		"no data, without SOA":             {map[string]string{"web. A": "", "web. AAAA": "ra -aa"}, fails, "Replace", []string{"NOERROR, but no records"}},
		"NXDOMAIN":                         {map[string]string{"web. A": "NXDOMAIN" + soa, "web. AAAA": "NXDOMAIN" + soa}, fails, "Replace", []string{"web. A, AAAA from 10.0.0.53:53: NXDOMAIN"}},
		"no data and NXDOMAIN":             {map[string]string{"web. AAAA": "NXDOMAIN" + soa}, fails, "Replace", nil},
		"no data and SERVFAIL":             {map[string]string{"web. AAAA": "SERVFAIL"}, fails, fails, []string{"web. AAAA from 10.0.0.53:53: SERVFAIL"}},
		"NXDOMAIN and SERVFAIL":            {map[string]string{"web. A": "NXDOMAIN" + soa, "web. AAAA": "SERVFAIL"}, fails, fails, []string{"SERVFAIL"}},
		"NXDOMAIN and silence":             {map[string]string{"web. A": "NXDOMAIN" + soa, "web. AAAA": "silent"}, fails, fails, []string{"AAAA", "no answer by udp within 5s"}},
		"silence":                          {map[string]string{"web. A": "silent", "web. AAAA": "silent"}, fails, fails, []string{"web. A, AAAA from 10.0.0.53:53: no answer by udp within 5s"}},
		"no server":                        {map[string]string{"web. A": "closed", "web. AAAA": "closed"}, fails, fails, []string{"connection refused"}},
		"NXDOMAIN, with records":           {oneFamily("NXDOMAIN" + aaaa2), "Add 10.0.0.2 [fd00::2]; Fail", "Add 10.0.0.2 [fd00::2]; Fail", []string{"NXDOMAIN, but with 1 records"}},
		"SERVFAIL, with records":           {oneFamily("SERVFAIL" + aaaa2), part, part, []string{"SERVFAIL"}},
		"a referral":                       {oneFamily("-aa|ns|web. 5 NS ns.web."), part, part, []string{"referral"}},
		"an old server":                    {map[string]string{"web. A": "FORMERR", "plain udp 10.0.0.53:53 web. A": a2}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"an older server":                  {map[string]string{"web. A": "NOTIMP", "plain udp 10.0.0.53:53 web. A": a2}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"truncated, whole by TCP":          {map[string]string{"web. A": "tc" + a2, "tcp web. A": a2 + a3}, "Add 10.0.0.2 10.0.0.3", "Replace 10.0.0.2 10.0.0.3", nil},
		"truncated, bare":                  {map[string]string{"web. A": "tc bare" + a2, "tcp web. A": a2 + a3}, "Add 10.0.0.2 10.0.0.3", "Replace 10.0.0.2 10.0.0.3", nil},
		"truncated, gone by TCP":           {map[string]string{"web. A": "tc" + a2, "tcp web. A": "NXDOMAIN" + soa}, fails, "Replace", nil},
		"truncated, even by TCP":           {map[string]string{"web. A": "tc" + a2, "tcp web. A": "tc" + a2 + a3}, "Add 10.0.0.2 10.0.0.3; Fail", "Add 10.0.0.2 10.0.0.3; Fail", []string{"truncated, even by TCP"}},
		"truncated, no TCP":                {map[string]string{"web. A": "tc" + a2, "tcp web. A": "closed"}, part, part, []string{"truncated by UDP, and by TCP: connection refused"}},
		"truncated, silent TCP":            {map[string]string{"web. A": "tc" + a2, "tcp web. A": "silent"}, part, part, []string{"no answer by tcp within 5s"}},
		"truncated, SERVFAIL":              {map[string]string{"web. A": "tc" + a2, "tcp web. A": "SERVFAIL"}, part, part, []string{"truncated by UDP, and by TCP: SERVFAIL"}},
		"truncated, cut by TCP":            {map[string]string{"web. A": "tc" + a2, "tcp web. A": "cut" + a2 + a3}, part, part, []string{"malformed"}},
		"a CNAME":                          {map[string]string{"web. A": "|web. 5 CNAME B.|b. 5 A 10.0.0.2|c. 5 A 10.0.0.9"}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"CNAMEs in disorder":               {map[string]string{"web. A": "|c. 5 A 10.0.0.2|b. 5 CNAME c.|web. 5 CNAME b."}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"a CNAME to ask for":               {map[string]string{"web. A": "|web. 5 CNAME b.", "b. A": "|b. 5 A 10.0.0.2"}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"a CNAME to no data":               {map[string]string{"web. A": "|web. 5 CNAME b." + soa}, fails, "Replace", []string{"web. A, AAAA from", "no records"}},
		"a CNAME to NXDOMAIN":              {map[string]string{"web. A": "NXDOMAIN|web. 5 CNAME b." + soa}, fails, "Replace", nil},
		"a CNAME to SERVFAIL":              {map[string]string{"web. A": "|web. 5 CNAME b.", "b. A": "SERVFAIL", "web. AAAA": aaaa2}, "Add [fd00::2]; Fail", "Add [fd00::2]; Fail", []string{"b. A from 10.0.0.53:53: SERVFAIL"}},
		"a CNAME to itself":                {map[string]string{"web. A": "|web. 5 CNAME web."}, fails, fails, []string{"web. A from 10.0.0.53:53", "circle: web. web."}},
		"CNAMEs in a circle":               {map[string]string{"web. A": "|web. 5 CNAME b.|b. 5 CNAME web."}, fails, fails, []string{"circle: web. b. web."}},
		"a circle to ask for":              {map[string]string{"web. A": "|web. 5 CNAME b.", "b. A": "|b. 5 CNAME web."}, fails, fails, []string{"web. A from 10.0.0.53:53: its CNAMEs lead in a circle: web. b. web."}},
		"other names' records":             {map[string]string{"web. A": "|db. 5 A 10.0.0.9" + a2}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"other letters":                    {map[string]string{"web. A": "|WEB. 5 A 10.0.0.2"}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"other types":                      {map[string]string{"web. A": "|web. 5 TXT 10.0.0.9" + a2}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"another class":                    {map[string]string{"web. A": "|web. 5 CH A 10.0.0.9" + a2}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"IPv4 in IPv6":                     {map[string]string{"web. AAAA": "|web. 5 AAAA ::ffff:10.0.0.2"}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"an address of no node":            {map[string]string{"web. A": "|web. 5 A 0.0.0.0" + a2}, part, part, []string{"web. A from 10.0.0.53:53", "0.0.0.0"}},
		"a record without all of its data": {map[string]string{"web. A": `|web. 5 A \# 0`}, fails, fails, []string{"web. A", "a record without all of its data"}},
	}
	for _, code := range []string{"SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "BADVERS", "BADCOOKIE", "RCODE12"} {
		all[code] = shape{map[string]string{"web. A": code, "web. AAAA": code}, fails, fails, []string{"web. A, AAAA from 10.0.0.53:53: " + strings.Replace(code, "RCODE", "RCODE ", 1)}}
		all[code+" for one family"] = shape{oneFamily(code), part, part, []string{"web. AAAA from 10.0.0.53:53: "}}
	}
	for _, wrong := range []string{"cut", "bare", "short", "nothing", "fewer", "id", "query", "other", "notify"} {
		all[wrong] = shape{map[string]string{"web. A": wrong + a2 + a3, "web. AAAA": wrong + aaaa2}, fails, fails, []string{"answer"}}
		all[wrong+" for one family"] = shape{oneFamily(wrong + aaaa2), part, part, []string{"AAAA"}}
	}
	return all
}

func srvShapes() map[string]shape {
	const (
		one, two = "|web. 5 SRV 0 50 4370 p1.", "|web. 5 SRV 9 1 4371 P2."
		p1, p2   = "p1. 5 A 10.0.0.2", "p2. 5 A 10.0.0.3"
	)
	srv := func(text string) map[string]string { return map[string]string{"web. SRV": text} }
	return map[string]shape{
		"additional, and no AAAA":     {srv(one + two + "|extra|" + p1 + "|" + p2), "Add 10.0.0.2 10.0.0.3:4371", "Replace 10.0.0.2 10.0.0.3:4371", nil},
		"AAAA left out of additional": {map[string]string{"web. SRV": one + "|extra|" + p1, "p1. AAAA": "|p1. 5 AAAA fd00::2"}, "Add 10.0.0.2", "Replace 10.0.0.2 [fd00::2]", nil},
		"A left out of additional":    {map[string]string{"web. SRV": one + "|extra|p1. 5 AAAA fd00::2", "p1. A": "|" + p1}, "Add [fd00::2]", "Replace 10.0.0.2 [fd00::2]", nil},
		"AAAA left out, and fails":    {map[string]string{"web. SRV": one + "|extra|" + p1, "p1. AAAA": "SERVFAIL"}, "Add 10.0.0.2", "Add 10.0.0.2; Fail", []string{"p1. AAAA from 10.0.0.53:53: SERVFAIL"}},
		"AAAA left out, NXDOMAIN":     {map[string]string{"web. SRV": one + "|extra|" + p1, "p1. AAAA": "NXDOMAIN" + soa}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"both families":               {srv(one + "|extra|" + p1 + "|p1. 5 AAAA fd00::2"), "Add 10.0.0.2 [fd00::2]", "Replace 10.0.0.2 [fd00::2]", nil},
		"to ask for":                  {map[string]string{"web. SRV": one + two, "p1. A": "|" + p1, "p2. AAAA": "|p2. 5 AAAA fd00::3"}, "Add 10.0.0.2 [fd00::3]:4371", "Replace 10.0.0.2 [fd00::3]:4371", nil},
		"one to ask for":              {map[string]string{"web. SRV": one + two + "|extra|" + p1, "p2. A": "|" + p2}, "Add 10.0.0.2 10.0.0.3:4371", "Replace 10.0.0.2 10.0.0.3:4371", nil},
		"a host by CNAME":             {map[string]string{"web. SRV": one, "p1. A": "|p1. 5 CNAME x.|x. 5 A 10.0.0.2"}, "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"two ports of a host":         {srv(one + "|web. 5 SRV 0 50 1 p1.|extra|" + p1), "Add 10.0.0.2:1 10.0.0.2", "Replace 10.0.0.2:1 10.0.0.2", nil},
		"others in additional":        {srv(one + "|extra|" + p1 + "|x. 5 A 10.0.0.9"), "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"a CNAME":                     {srv("|web. 5 CNAME w.|w. 5 SRV 0 50 4370 p1.|extra|" + p1), "Add 10.0.0.2", "Replace 10.0.0.2", nil},
		"no data":                     {nil, fails, "Replace", []string{"web. SRV from 10.0.0.53:53: NOERROR, but no records"}},
		"NXDOMAIN":                    {srv("NXDOMAIN" + soa), fails, "Replace", []string{"web. SRV from 10.0.0.53:53: NXDOMAIN"}},
		"no such service":             {srv("|web. 5 SRV 0 0 0 ."), fails, "Replace", []string{"web. SRV from 10.0.0.53:53: ", "RFC 2782"}},
		"SERVFAIL":                    {srv("SERVFAIL"), fails, fails, []string{"web. SRV from 10.0.0.53:53: SERVFAIL"}},
		"silence":                     {srv("silent"), fails, fails, []string{"no answer"}},
		"a host fails":                {map[string]string{"web. SRV": one + two + "|extra|" + p1, "p2. A": "SERVFAIL"}, "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"p2. A from 10.0.0.53:53: SERVFAIL"}},
		"a host fails in one":         {map[string]string{"web. SRV": one, "p1. A": "|" + p1, "p1. AAAA": "silent"}, "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"p1. AAAA"}},
		"a host that isn't there":     {map[string]string{"web. SRV": one + two + "|extra|" + p1, "p2. A": "NXDOMAIN" + soa}, "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"p2. A from 10.0.0.53:53: NXDOMAIN"}},
		"port 0":                      {srv(one + "|web. 5 SRV 0 0 0 p2.|extra|" + p1 + "|" + p2), "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"web. SRV from 10.0.0.53:53: p2. has port 0"}},
		"truncated, whole by TCP":     {map[string]string{"web. SRV": "tc" + one + "|extra|" + p1, "tcp web. SRV": one + two + "|extra|" + p1 + "|" + p2}, "Add 10.0.0.2 10.0.0.3:4371", "Replace 10.0.0.2 10.0.0.3:4371", nil},
		"truncated, no TCP":           {map[string]string{"web. SRV": "tc" + one + "|extra|" + p1, "tcp web. SRV": "closed"}, "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"truncated"}},
		"cut":                         {srv("cut" + one), fails, fails, []string{"malformed"}},
		"0.0.0.0 in additional":       {srv(one + "|extra|p1. 5 A 0.0.0.0|" + p1), "Add 10.0.0.2; Fail", "Add 10.0.0.2; Fail", []string{"p1. A from 10.0.0.53:53: ", "0.0.0.0"}},
		"no target":                   {srv(`|web. 5 SRV \# 0`), fails, fails, []string{"a record without all of its data"}},
	}
}

// told runs a strategy for one round and returns what a roster makes of it.
func told(t *testing.T, s Strategy, exchange exchanger) ([]string, error) {
	t.Helper()
	var said []cluster.Change
	r := cluster.NewRoster("", nil, func(c cluster.Change) { said = append(said, c) })
	tell(r, verdict(s.Authoritative, s.round(t.Context(), exchange, new(turns))))
	return summary(said)
}

// TestShapes has every code and shape of an answer lead to the right calls of a
// roster.
func TestShapes(t *testing.T) {
	for kind, table := range map[string]map[string]shape{"addresses": shapes(), "SRV": srvShapes()} {
		for name, tt := range table {
			for authoritative, want := range map[bool]string{false: tt.hints, true: tt.authoritative} {
				t.Run(fmt.Sprintf("%s/%s/authoritative=%v", kind, name, authoritative), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Authoritative: authoritative}
						if kind == "SRV" {
							s.SRV, s.Port = true, 0
						}
						if err := s.Validate(); err != nil {
							t.Fatal(err)
						}
						began := time.Now()
						got, err := told(t, s, (&fake{says: tt.says}).exchange)
						if strings.Join(got, "; ") != want {
							t.Errorf("the roster is told %q, want %q; the error is %v", got, want, err)
						}
						for _, say := range tt.error {
							if err != nil && !strings.Contains(err.Error(), say) {
								t.Errorf("the error is %q, want %q in that", err, say)
							}
						}
						if took := time.Since(began); took > 2*defaultAttempts*defaultTimeout {
							t.Errorf("it takes %s", took)
						}
					})
				})
			}
		}
	}
}

// TestChain has 8 CNAMEs be followed and the ninth be an error, however many are in
// one message.
func TestChain(t *testing.T) {
	for length, want := range map[int][]string{8: {"Replace 10.0.0.2"}, 9: {"Fail"}} {
		for _, inOne := range []int{1, 2, 3, 4, 8, 9} {
			t.Run(fmt.Sprintf("%d, %d in a message", length, inOne), func(t *testing.T) {
				name := func(i int) string { return fmt.Sprintf("c%d.", i) }
				says := map[string]string{}
				for i := range length {
					says[name(i/inOne*inOne)+" A"] += fmt.Sprintf("|%s 5 CNAME %s", name(i), name(i+1))
				}
				says[name(length)+" A"] = "|" + name(length) + " 5 A 10.0.0.2"
				s := Strategy{Queries: []string{name(0)}, Port: 4370, Network: "ip4", Servers: []string{"10.0.0.53"}, Authoritative: true}
				got, err := told(t, s, (&fake{says: says}).exchange)
				if !slices.Equal(got, want) {
					t.Errorf("the roster is told %q with %v, want %q", got, err, want)
				}
				if length == 9 && (err == nil || err.Error() != "dns: c0. A from 10.0.0.53:53: more than 8 CNAMEs, the last of which leads to c9.") {
					t.Errorf("the error is %v", err)
				}
			})
		}
	}
}

// TestQueryError has a caller find out what was asked and what came back.
func TestQueryError(t *testing.T) {
	s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}}
	_, err := told(t, s, (&fake{says: map[string]string{"web. A": "NXDOMAIN", "web. AAAA": "NXDOMAIN"}}).exchange)
	var query *QueryError
	if !errors.As(err, &query) || !errors.Is(err, ErrNoName) || errors.Is(err, ErrNoData) {
		t.Fatalf("the error is %v", err)
	}
	if query.Name != "web." || query.Type != "A" || query.Server != "10.0.0.53:53" {
		t.Errorf("it is about %q %q from %q", query.Name, query.Type, query.Server)
	}
}

// TestTTL has an answer hold for as long as all that it is made of.
func TestTTL(t *testing.T) {
	const day = "|web. 86400 "
	for name, tt := range map[string]struct {
		says map[string]string
		want time.Duration
	}{
		"the least record's":           {map[string]string{"web. A": day + "A 10.0.0.2|web. 7 A 10.0.0.3", "web. AAAA": day + "AAAA fd00::2"}, 7 * time.Second},
		"the other family's":           {map[string]string{"web. A": day + "A 10.0.0.2", "web. AAAA": "|web. 7 AAAA fd00::2"}, 7 * time.Second},
		"a CNAME's":                    {map[string]string{"web. A": "|web. 7 CNAME b.|b. 86400 A 10.0.0.2", "web. AAAA": day + "AAAA fd00::2"}, 7 * time.Second},
		"a CNAME's, asked before":      {map[string]string{"web. A": "|web. 7 CNAME b.", "b. A": "|b. 86400 A 10.0.0.2", "web. AAAA": day + "AAAA fd00::2"}, 7 * time.Second},
		"another name's doesn't count": {map[string]string{"web. A": day + "A 10.0.0.2|b. 1 A 10.0.0.3", "web. AAAA": day + "AAAA fd00::2"}, 24 * time.Hour},
		"no data, the SOA's":           {map[string]string{"web. A": day + "A 10.0.0.2", "web. AAAA": "|ns|. 7 SOA a. b. 1 1 1 1 86400"}, 7 * time.Second},
		"no data, the SOA's minimum":   {map[string]string{"web. A": day + "A 10.0.0.2", "web. AAAA": "|ns|. 86400 SOA a. b. 1 1 1 1 7"}, 7 * time.Second},
		"no data, no SOA":              {map[string]string{"web. A": day + "A 10.0.0.2", "web. AAAA": ""}, 24 * time.Hour},
		"more than there can be":       {map[string]string{"web. A": day + "A 10.0.0.2|web. 2147483648 A 10.0.0.3", "web. AAAA": ""}, 0},
		"a query's":                    {map[string]string{"web. A": "|web. 7 A 10.0.0.2", "db. A": "|db. 9 A 10.0.0.3", "web. AAAA": "", "db. AAAA": ""}, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}}
			if _, both := tt.says["db. A"]; both {
				s.Queries = append(s.Queries, "db.")
			}
			if got := holds([]cluster.Change{{Kind: cluster.Added}}, s.round(t.Context(), (&fake{says: tt.says}).exchange, new(turns))); got != tt.want {
				t.Errorf("it holds for %s, want %s", got, tt.want)
			}
		})
	}
}

// TestAdditionalLacks has the types be asked for that the additional section
// lacks, and no others.
func TestAdditionalLacks(t *testing.T) {
	const a, aaaa = "|p1. 5 A 10.0.0.2", "|p1. 5 AAAA fd00::2"
	for name, tt := range map[string]struct {
		extra, network       string
		hints, authoritative []string
	}{
		"nothing":           {a + aaaa, "", nil, nil},
		"AAAA":              {a, "", nil, []string{"AAAA"}},
		"A":                 {aaaa, "", nil, []string{"A"}},
		"both":              {"", "", []string{"A", "AAAA"}, []string{"A", "AAAA"}},
		"the other network": {a, "ip4", nil, nil},
		"the only network":  {a, "ip6", []string{"AAAA"}, []string{"AAAA"}},
		"data":              {`|p1. 5 A \# 0` + aaaa, "", nil, []string{"A"}},
	} {
		for authoritative, types := range map[bool][]string{false: tt.hints, true: tt.authoritative} {
			t.Run(fmt.Sprintf("%s/authoritative=%v", name, authoritative), func(t *testing.T) {
				f := &fake{says: map[string]string{"web. SRV": "|web. 5 SRV 0 0 4370 p1.|extra" + tt.extra}}
				s := Strategy{Queries: []string{"web."}, SRV: true, Network: tt.network, Servers: []string{"10.0.0.53"}, Authoritative: authoritative}
				s.round(t.Context(), f.exchange, new(turns))
				want := []string{"udp 10.0.0.53:53 web. SRV"}
				for _, kind := range types {
					want = append(want, "udp 10.0.0.53:53 p1. "+kind)
				}
				got := f.questions()
				slices.Sort(got)
				if slices.Sort(want); !slices.Equal(got, want) {
					t.Errorf("it asks %q, want %q", got, want)
				}
			})
		}
	}
}

// TestAdditional has the additional section tell the addresses of the family that
// is asked for, and how long they hold.
func TestAdditional(t *testing.T) {
	f := &fake{says: map[string]string{"web. SRV": "|web. 86400 SRV 0 0 4370 p1.|extra|p1. 7 A 10.0.0.2|p1. 3 AAAA fd00::2|p1. 2 TXT x|p2. 1 A 10.0.0.3"}}
	s := Strategy{Queries: []string{"web."}, SRV: true, Network: "ip4", Servers: []string{"10.0.0.53"}}
	results := s.round(t.Context(), f.exchange, new(turns))
	if got := results[0]; !slices.Equal(got.nodes, []cluster.Node{"10.0.0.2:4370"}) || got.ttl != 7*time.Second || got.errs != nil {
		t.Errorf("it finds %q for %s, and %v", got.nodes, got.ttl, got.errs)
	}
}
