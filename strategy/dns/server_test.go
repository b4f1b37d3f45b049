package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// A server says what a fake says, by UDP and TCP on loopback.
type server struct {
	fake

	tb      testing.TB
	addr    string
	sockets []*miekg.Server
	before  []string // is sent by UDP before each answer
}

func newServer(tb testing.TB, before ...string) *server {
	tb.Helper()
	s := &server{tb: tb, addr: "127.0.0.1:0", before: before, fake: fake{says: map[string]string{}}}
	s.start()
	tb.Cleanup(s.stop)
	return s
}

// start listens, at the same address as before. Nothing keeps the port free
// meanwhile: while another's socket has it, start tries again.
func (s *server) start() {
	s.tb.Helper()
	const bindWithin = 10 * time.Second
	for began := time.Now(); ; {
		err := s.bind()
		if err == nil {
			break
		}
		if time.Since(began) > bindWithin {
			s.tb.Fatalf("%s has not become free for %s: %v", s.addr, bindWithin, err)
		}
		wait := time.NewTimer(10 * time.Millisecond) // nothing tells when it is free
		<-wait.C
	}
	for _, socket := range s.sockets {
		ready := make(chan struct{})
		socket.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = socket.ActivateAndServe() }() // until stop
		<-ready
	}
}

// bind takes the address by TCP and UDP.
func (s *server) bind() error {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		_ = l.Close()
		return err
	}
	s.addr = l.Addr().String()
	s.sockets = []*miekg.Server{{Listener: l, Handler: s}, {PacketConn: pc, Handler: s}}
	return nil
}

func (s *server) stop() {
	for _, socket := range s.sockets {
		_ = socket.Shutdown()
	}
	s.sockets = nil
}

// ServeDNS implements [miekg.Handler].
func (s *server) ServeDNS(w miekg.ResponseWriter, query *miekg.Msg) {
	network := w.LocalAddr().Network()
	if network == "udp" {
		for _, text := range s.before {
			if p, err := pack(query, text); err == nil {
				_, _ = w.Write(p)
			}
		}
	}
	p, err := s.answer(network, s.addr, query)
	if err != nil {
		_ = w.Close()
		return
	}
	_, _ = w.Write(p)
}

// setNodes has the name web. stand for nodes.
func (s *server) setNodes(nodes ...cluster.Node) {
	s.tb.Helper()
	a, srv, extra := "", "", ""
	for _, n := range nodes {
		host := strings.ReplaceAll(n.Host(), ".", "-")
		a += "|web. 1 A " + n.Host()
		srv += fmt.Sprintf("|web. 1 SRV 0 50 %d %s.", n.Port(), host)
		extra += fmt.Sprintf("|%s. 1 A %s", host, n.Host())
	}
	if len(nodes) > 0 {
		srv += "|extra" + extra
	}
	s.set("web. A", a)
	s.set("web. SRV", srv)
}

// faults has all types, or only one, be answered wrongly.
func (s *server) faults(kinds ...string) map[string]strategytest.Fault {
	faults := map[string]strategytest.Fault{"gone": {Break: s.stop, Mend: s.start}}
	answer := func(name string, texts map[string]string) {
		faults[name] = strategytest.Fault{
			Break: func() {
				for key, text := range texts {
					s.set(key, text)
				}
			},
			Mend: func() {
				for key := range texts {
					s.unset(key)
				}
			},
		}
	}
	for _, kind := range kinds {
		for _, text := range []string{"SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "NOTAUTH", "BADVERS", "-aa", "silent", "cut" + a2} {
			answer(kind+" "+text, map[string]string{"udp " + s.addr + " web. " + kind: text})
		}
		truncated := "tc|web. 1 " + map[string]string{"A": "A 10.0.0.2", "AAAA": "AAAA fd00::9", "SRV": "SRV 0 0 1 x."}[kind]
		if kind != "A" { // of whose part the suite would not know
			truncated = "tc"
		}
		for _, text := range []string{truncated, "SERVFAIL", "closed", "cut" + a2, "short"} {
			answer(kind+" truncated, by TCP "+text, map[string]string{
				"udp " + s.addr + " web. " + kind: truncated, "tcp " + s.addr + " web. " + kind: text,
			})
		}
		answer(kind+" in a circle", map[string]string{"udp " + s.addr + " web. " + kind: "|web. 1 CNAME a.|a. 1 CNAME web."})
	}
	return faults
}

// quick is asked often, and a server that is silent fails soon.
func (s *server) quick() Strategy {
	return Strategy{
		Queries: []string{"web."}, Port: 4370, Servers: []string{s.addr},
		Interval: 20 * time.Millisecond, Timeout: 300 * time.Millisecond, Attempts: 1,
	}
}

func TestConformance(t *testing.T) {
	for name, tt := range map[string]struct {
		kinds  []string
		change func(*Strategy)
		hints  bool
	}{
		"authoritative": {[]string{"A"}, func(s *Strategy) { s.Authoritative = true }, false},
		"one family":    {[]string{"AAAA"}, func(s *Strategy) { s.Authoritative = true }, false},
		"SRV":           {[]string{"SRV"}, func(s *Strategy) { s.SRV, s.Port, s.Authoritative = true, 0, true }, false},
		"hints":         {[]string{"A"}, func(*Strategy) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := strategytest.Harness{Parallel: true, Hints: tt.hints, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
				tb.Helper()
				srv := newServer(tb)
				srv.setNodes(nodes...)
				s := srv.quick()
				tt.change(&s)
				faults := srv.faults(tt.kinds...)
				if tt.hints {
					faults["NXDOMAIN"] = strategytest.Fault{
						Break: func() { srv.set("udp "+srv.addr+" web. A", "NXDOMAIN") },
						Mend:  func() { srv.unset("udp " + srv.addr + " web. A") },
					}
				}
				return strategytest.Source{Strategy: s, Set: srv.setNodes, Faults: faults}
			}}
			if tt.hints {
				h.Cannot.Empty = "a name without addresses is a failure where answers are hints"
			}
			strategytest.Test(t, h)
		})
	}
}

// TestConformanceResolver is for a func, of which an answer without hosts is one
// of nobody.
func TestConformanceResolver(t *testing.T) {
	for name, port := range map[string]int{"with ports": 0, "without ports": 4370} {
		t.Run(name, func(t *testing.T) {
			strategytest.Test(t, strategytest.Harness{Bubble: true, New: func(_ testing.TB, nodes ...cluster.Node) strategytest.Source {
				r := &resolver{port: port}
				r.set(nodes...)
				s := Strategy{Queries: []string{"web"}, Port: port, Resolver: r.resolve, Interval: 20 * time.Millisecond, Authoritative: true}
				return strategytest.Source{Strategy: s, Set: r.set, Faults: map[string]strategytest.Fault{
					"an error": {Break: func() { r.fail(errors.New("broken")) }, Mend: func() { r.fail(nil) }},
					"silence":  {Break: func() { r.fail(context.DeadlineExceeded) }, Mend: func() { r.fail(nil) }},
				}}
			}})
		})
	}
}

// A resolver is a func of the user's.
type resolver struct {
	port int // if not zero, hosts have none of their own

	mu    sync.Mutex
	hosts []string
	err   error
}

func (r *resolver) set(nodes ...cluster.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts = nil
	for _, n := range nodes {
		if r.port == 0 {
			r.hosts = append(r.hosts, string(n))
		} else {
			r.hosts = append(r.hosts, n.Host())
		}
	}
}

// fail has it return err, or of the deadline's nothing at all.
func (r *resolver) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *resolver) resolve(ctx context.Context, _ string) ([]string, error) {
	r.mu.Lock()
	hosts, err := r.hosts, r.err
	r.mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return hosts, err
}

// TestForged has packets that are no answer to the question be dropped, and the
// one that is one be believed.
func TestForged(t *testing.T) {
	srv := newServer(t, "id|web. 5 A 10.0.0.9", "other|web. 5 A 10.0.0.9", "query|web. 5 A 10.0.0.9", "cut|web. 5 A 10.0.0.9", "short", "nothing", "bare NXDOMAIN")
	s := srv.quick()
	s.Network, s.Authoritative = "ip4", true
	srv.set("web. A", a2)
	if said, err := told(t, s, exchange); !slices.Equal(said, []string{"Replace 10.0.0.2"}) {
		t.Errorf("the roster is told %q with %v", said, err)
	}
	srv.set("web. A", "silent")
	said, err := told(t, s, exchange)
	if !slices.Equal(said, []string{"Fail"}) || !strings.Contains(err.Error(), "no answer by udp within 300ms") || !strings.Contains(err.Error(), "another question") {
		t.Errorf("the roster is told %q with %v; want a Fail that names what was dropped", said, err)
	}
}

// TestEDNS0 has queries say how long an answer may be.
func TestEDNS0(t *testing.T) {
	q := newQuery("web.", miekg.TypeA, true)
	if opt := q.IsEdns0(); opt == nil || opt.UDPSize() != 1232 || !q.RecursionDesired {
		t.Errorf("the query is %v", q)
	}
}

// TestManyByTCP has more nodes than a packet holds be found, all of them.
func TestManyByTCP(t *testing.T) {
	srv := newServer(t)
	var want []string
	var nodes []cluster.Node
	for i := range 500 {
		n := fmt.Sprintf("10.0.%d.%d:4370", i/250, i%250+1)
		nodes, want = append(nodes, cluster.Node(n)), append(want, n)
	}
	srv.setNodes(nodes...)
	for _, key := range []string{"web. A", "web. SRV"} {
		srv.set("udp "+srv.addr+" "+key, "tc")
	}
	for _, srvRecords := range []bool{false, true} {
		s := srv.quick()
		if s.Timeout = 5 * time.Second; srvRecords {
			s.SRV, s.Port = true, 0
		}
		results := s.round(t.Context(), exchange, new(turns))
		var got []string
		for _, n := range results[0].nodes {
			got = append(got, string(n))
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) || results[0].err != nil {
			t.Errorf("SRV %v: it finds %d nodes of %d, and %v", srvRecords, len(got), len(want), results[0].err)
		}
	}
}
