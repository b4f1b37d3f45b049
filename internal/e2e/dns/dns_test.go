package dns_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/dns"
	"github.com/libcluster-go/cluster/transport/memory"
	miekg "github.com/miekg/dns"
)

// soon is how long what has no other bound may take.
const soon = 20 * time.Second

// A telling is a strategy that runs, and what it tells.
type telling struct {
	t    *testing.T
	told chan cluster.Change
}

// run runs a strategy until the test ends.
func run(t *testing.T, s dns.Strategy) *telling {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tell := &telling{t, make(chan cluster.Change, 10000)}
	r := cluster.NewRoster("", nil, func(c cluster.Change) { tell.told <- c })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return tell
}

// next returns what is told next.
func (tell *telling) next(within time.Duration) cluster.Change {
	tell.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case c := <-tell.told:
		return c
	case <-late.C:
		tell.t.Fatalf("nothing is told for %s", within)
		return cluster.Change{}
	}
}

// zoneOf are records of n nodes, each with a host of its own.
func zoneOf(n, ttl int) (zone string) {
	for i := range n {
		zone += fmt.Sprintf(`a %[1]d IN A 10.0.0.%[2]d
aaaa %[1]d IN AAAA fd00::%[2]d
both %[1]d IN A 10.0.0.%[2]d
both %[1]d IN AAAA fd00::%[2]d
srv %[1]d IN SRV 0 50 4370 p%[2]d
p%[2]d %[1]d IN A 10.0.0.%[2]d
`, ttl, i+1)
	}
	return zone + "alias 5 IN CNAME both\nfar 5 IN CNAME a.other.\n"
}

// TestNodes has 3 to 120 nodes be found by each kind of record, though the
// server truncates an answer of many.
func TestNodes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 20, 120} {
		c := serveZone(t, zoneOf(n, 5), "loadbalance")
		var v4, v6, names []cluster.Node
		for i := range n {
			v4 = append(v4, cluster.Node(fmt.Sprintf("10.0.0.%d:4370", i+1)))
			v6 = append(v6, cluster.Node(fmt.Sprintf("[fd00::%d]:4370", i+1)))
			names = append(names, cluster.Node(fmt.Sprintf("p%d.test:4370", i+1)))
		}
		for name, tt := range map[string]struct {
			query    string
			strategy dns.Strategy
			kind     uint16
			want     []cluster.Node
		}{
			"A":          {"a.test.", dns.Strategy{Port: 4370}, miekg.TypeA, v4},
			"AAAA":       {"aaaa.test.", dns.Strategy{Port: 4370}, miekg.TypeAAAA, v6},
			"A and AAAA": {"both.test.", dns.Strategy{Port: 4370}, miekg.TypeA, slices.Concat(v4, v6)},
			"CNAME":      {"alias.test.", dns.Strategy{Port: 4370}, miekg.TypeA, slices.Concat(v4, v6)},
			"SRV":        {"srv.test.", dns.Strategy{SRV: true}, miekg.TypeSRV, v4},
			"SRV, names": {"srv.test.", dns.Strategy{SRV: true, Names: true}, miekg.TypeSRV, names},
		} {
			t.Run(fmt.Sprintf("%d/%s", n, name), func(t *testing.T) {
				s := tt.strategy
				s.Queries, s.Servers, s.Authoritative = []string{tt.query}, []string{c.addr}, true
				got := run(t, s).next(soon)
				slices.Sort(tt.want)
				if got.Kind != cluster.Replaced || !slices.Equal(got.Nodes, tt.want) {
					t.Errorf("it tells %s of %d nodes and %v, want Replace of %d", got.Kind, len(got.Nodes), got.Err, len(tt.want))
				}
				byUDP, err := c.ask("udp", tt.query, tt.kind)
				if err != nil {
					t.Fatal(err)
				}
				if n == 120 && !byUDP.Truncated || n == 3 && byUDP.Truncated {
					t.Errorf("by UDP, the answer of %d nodes is truncated: %v", n, byUDP.Truncated)
				}
			})
		}
	}
}

// TestAnswers has what a real server says lead to the right call.
func TestAnswers(t *testing.T) {
	t.Parallel()
	c := serveZone(t, zoneOf(3, 5)+"text 5 IN TXT x\nhalf 5 IN SRV 0 0 4370 p1\nhalf 5 IN SRV 0 0 4370 nowhere\nnone 5 IN SRV 0 0 0 .\n",
		"template ANY ANY servfail. {\n\t\trcode SERVFAIL\n\t}", "template ANY ANY refused. {\n\t\trcode REFUSED\n\t}",
		"template IN A one.family. {\n\t\tanswer \"{{ .Name }} 5 IN A 10.0.0.1\"\n\t}", "template IN AAAA one.family. {\n\t\trcode SERVFAIL\n\t}")
	for name, tt := range map[string]struct {
		query                string
		srv                  bool
		authoritative, hints string
		says                 string
	}{
		"NXDOMAIN":                        {"missing.test.", false, "Replace 0", "Fail", "missing.test. A, AAAA from " + c.addr + ": NXDOMAIN"},
		"NXDOMAIN of SRV":                 {"missing.test.", true, "Replace 0", "Fail", "missing.test. SRV from " + c.addr + ": NXDOMAIN"},
		"no data":                         {"text.test.", false, "Replace 0", "Fail", "text.test. A, AAAA from " + c.addr + ": NOERROR, but no records"},
		"SERVFAIL":                        {"a.servfail.", false, "Fail", "Fail", "a.servfail. A, AAAA from " + c.addr + ": SERVFAIL"},
		"REFUSED":                         {"a.refused.", false, "Fail", "Fail", "REFUSED"},
		"of another's zone":               {"a.example.", false, "Fail", "Fail", "a.example. A, AAAA from " + c.addr + ": REFUSED"},
		"one family":                      {"a.one.family.", false, "Add 1, Fail", "Add 1, Fail", "a.one.family. AAAA from " + c.addr + ": SERVFAIL"},
		"a CNAME to where it isn't asked": {"far.test.", false, "Fail", "Fail", "a.other. A, AAAA from " + c.addr},
		"an SRV record's host is missing": {"half.test.", true, "Add 1, Fail", "Add 1, Fail", "nowhere.test. A, AAAA from " + c.addr + ": NXDOMAIN"},
		"no such service":                 {"none.test.", true, "Replace 0", "Fail", "RFC 2782"},
	} {
		for authoritative, want := range map[bool]string{false: tt.hints, true: tt.authoritative} {
			t.Run(fmt.Sprintf("%s/authoritative=%v", name, authoritative), func(t *testing.T) {
				s := dns.Strategy{Queries: []string{tt.query}, SRV: tt.srv, Servers: []string{c.addr}, Authoritative: authoritative}
				if !tt.srv {
					s.Port = 4370
				}
				tell := run(t, s)
				var told []string
				for range strings.SplitSeq(want, ", ") {
					got := tell.next(soon)
					text := got.Kind.String()
					if got.Kind == cluster.Failed {
						if !strings.Contains(got.Err.Error(), tt.says) {
							t.Errorf("the error is %q, want %q in that", got.Err, tt.says)
						}
					} else {
						text += fmt.Sprintf(" %d", len(got.Nodes))
					}
					told = append(told, text)
				}
				if got := strings.Join(told, ", "); got != want {
					t.Errorf("it tells %s, want %s", got, want)
				}
			})
		}
	}
}

// TestErratic has a server drop, delay and truncate, and every answer that counts
// as whole be whole.
func TestErratic(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]string{"drops": "drop 3", "truncates": "drop 0\n\t\ttruncate 1", "delays": "drop 0\n\t\tdelay 2 300ms"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveZone(t, "", "erratic erratic. {\n\t\t"+how+"\n\t}")
			tell := run(t, dns.Strategy{
				Queries: []string{"web.erratic."}, Port: 4370, Servers: []string{c.addr}, Authoritative: true,
				Interval: 10 * time.Millisecond, Timeout: 150 * time.Millisecond,
			})
			want := []cluster.Node{"192.0.2.53:4370", "[2001:db8::53]:4370"}
			for whole, began := 0, time.Now(); whole < 10; {
				if time.Since(began) > 3*soon {
					t.Fatalf("after %s it has told %d whole answers, want 10", 3*soon, whole)
				}
				got := tell.next(soon)
				if got.Kind == cluster.Replaced {
					if whole++; !slices.Equal(got.Nodes, want) {
						t.Errorf("it tells Replace of %q, want %q", got.Nodes, want)
					}
				}
			}
		})
	}
}

// TestChange has a record that is added or taken be acted on within the TTL and a
// second, by a server that is asked itself and by one that caches its answers.
func TestChange(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]int{"asked": 2, "cached": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone := serveZone(t, zoneOf(3, ttl))
			asked := zone
			if name == "cached" {
				asked = serveFor(t, zone)
			}
			f := form(t, dns.Strategy{Queries: []string{"a.test."}, Network: "ip4", Port: 4370, Servers: []string{asked.addr}, Authoritative: true}, cluster.WithRemoveGrace(0))
			f.await(3)
			for _, n := range []int{4, 2} {
				zone.zone(zoneOf(n, ttl))
				zone.awaitZone()
				took := f.await(n)
				if most := time.Duration(ttl)*time.Second + time.Second; took > most {
					t.Errorf("%d nodes after %s, want that within the TTL and a second: %s", n, took, most)
				}
			}
		})
	}
}

// TestOutage has the server be gone for a minute under a formed cluster, in which
// nothing is disconnected, and has a new node be found after it is back.
func TestOutage(t *testing.T) {
	t.Parallel()
	const outage = time.Minute
	c := serveZone(t, zoneOf(5, 1))
	f := form(t, dns.Strategy{Queries: []string{"both.test."}, Network: "ip4", Port: 4370, Servers: []string{c.addr}, Authoritative: true}, cluster.WithRemoveGrace(time.Second))
	f.await(5)
	c.stop()
	failed := f.within(outage, func(e cluster.Event) bool { _, is := e.(cluster.StrategyFailed); return is })
	if !failed {
		t.Errorf("the server has been gone for %s, and no failure is told of", outage)
	}
	if n := len(f.sup.Nodes()); n != 5 || f.cuts > 0 {
		t.Errorf("the server has been gone for %s: %d nodes are left of 5, and %d were disconnected", outage, n, f.cuts)
	}
	c.zone(zoneOf(7, 1))
	c.start()
	took := f.await(7)
	if took > 8*time.Second || f.cuts > 0 {
		t.Errorf("7 nodes after %s, and %d were disconnected; want them within 8 s, and none", took, f.cuts)
	}
}

// A formation is a supervisor on a network of memory.
type formation struct {
	t      *testing.T
	sup    *cluster.Supervisor
	events <-chan cluster.Event
	cuts   int // how many nodes were disconnected
}

// form starts a supervisor among the nodes 10.0.0.1 to 10.0.0.8.
func form(t *testing.T, s dns.Strategy, opts ...cluster.Option) *formation {
	t.Helper()
	network := memory.New()
	for i := range 8 {
		if _, err := network.Join(cluster.Node(fmt.Sprintf("10.0.0.%d:4370", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	self, err := network.Join("10.0.1.1:4370")
	if err != nil {
		t.Fatal(err)
	}
	sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "e2e", Strategy: s}}, append(opts, cluster.WithTransport(self))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &formation{t: t, sup: sup, events: sup.Events(t.Context())}
}

// await waits until there are n nodes, and returns how long that took, less how
// late this machine was.
func (f *formation) await(n int) time.Duration {
	f.t.Helper()
	began, late := time.Now(), lateness()
	met := f.until(soon, func(cluster.Event) bool { return len(f.sup.Nodes()) == n })
	took, lost := time.Since(began), late()
	if !met {
		f.t.Fatalf("after %s there are %d nodes, want %d", soon, len(f.sup.Nodes()), n)
	}
	f.t.Logf("%d nodes after %s, of which the machine was late for %s", n, took.Round(time.Millisecond), lost.Round(time.Millisecond))
	return took - lost
}

// until takes events until met, which may be without one.
func (f *formation) until(within time.Duration, met func(cluster.Event) bool) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	for !met(nil) {
		select {
		case e := <-f.events:
			f.count(e)
			if met(e) {
				return true
			}
		case <-late.C:
			return false
		}
	}
	return true
}

// within takes all events for a while, and returns whether one is as met says.
func (f *formation) within(d time.Duration, met func(cluster.Event) bool) (seen bool) {
	f.until(d, func(e cluster.Event) bool {
		seen = seen || e != nil && met(e)
		return false
	})
	return seen
}

func (f *formation) count(e cluster.Event) {
	if _, is := e.(cluster.NodeDisconnected); is {
		f.cuts++
	}
}
