package dns

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
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

// TestForged has packets that are no answer to the question be dropped, and the
// one that is one be believed.
func TestForged(t *testing.T) {
	t.Parallel()
	srv := newServer(t, "id|web. 5 A 10.0.0.9", "other|web. 5 A 10.0.0.9", "query|web. 5 A 10.0.0.9", "cut|web. 5 A 10.0.0.9", "short", "nothing", "bare NXDOMAIN")
	s := Strategy{Queries: []string{"web."}, Port: 4370, Network: "ip4", Servers: []string{srv.addr}, Authoritative: true, Timeout: time.Minute}
	srv.set("web. A", a2)
	if said, err := told(t, s, exchange); !slices.Equal(said, []string{"Replace 10.0.0.2"}) {
		t.Errorf("the roster is told %q with %v", said, err)
	}
}

// TestDropped has a failure name what was dropped, if no answer follows.
func TestDropped(t *testing.T) {
	t.Parallel()
	srv := newServer(t, "id|web. 5 A 10.0.0.9")
	srv.set("web. A", "silent")
	s := Strategy{Queries: []string{"web."}, Port: 4370, Network: "ip4", Servers: []string{srv.addr}, Authoritative: true, Timeout: 5 * time.Second, Attempts: 1}
	said, err := told(t, s, exchange)
	want := "dns: web. A from " + srv.addr + ": no answer by udp within 5s, but an answer to another question"
	if !slices.Equal(said, []string{"Fail"}) || err.Error() != want {
		t.Errorf("the roster is told %q with %v; want a Fail with %q", said, err, want)
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
	t.Parallel()
	srv := newServer(t)
	var want []string
	var nodes []cluster.Node
	for i := range 500 {
		n := fmt.Sprintf("10.0.%d.%d:4370", i/250, i%250+1)
		nodes, want = append(nodes, cluster.Node(n)), append(want, n)
	}
	slices.Sort(want)
	named{&srv.fake, srv.addr, "web."}.stands(nodes...)
	for name, s := range map[string]Strategy{"A": {Port: 4370}, "SRV": {SRV: true}} {
		srv.set("udp "+srv.addr+" web. "+name, "tc")
		s.Queries, s.Servers, s.Timeout = []string{"web."}, []string{srv.addr}, time.Minute
		results := s.round(t.Context(), exchange, new(turns))
		var got []string
		for _, n := range results[0].nodes {
			got = append(got, string(n))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || results[0].errs != nil {
			t.Errorf("%s: it finds %d nodes of %d, and %v", name, len(got), len(want), oneError(results[0].errs))
		}
	}
}
