package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

// A named is a name of which a fake server at an address knows.
type named struct {
	*fake

	server, name string
}

// stands has the name stand for nodes: by A and SRV records if they have addresses,
// else by SRV records only.
func (n named) stands(nodes ...cluster.Node) {
	a, srv, extra := "", "", ""
	for _, node := range nodes {
		host := node.Host()
		if _, is := node.IP(); is {
			host = strings.ReplaceAll(host, ".", "-")
			a += fmt.Sprintf("|%s 1 A %s", n.name, node.Host())
			extra += fmt.Sprintf("|%s. 1 A %s", host, node.Host())
		}
		srv += fmt.Sprintf("|%s 1 SRV 0 50 %d %s.", n.name, node.Port(), host)
	}
	n.set(n.name+" A", a)
	n.set(n.name+" SRV", srv+"|extra"+extra)
}

// fault has the questions of a type be answered by texts, by UDP and, if that is
// truncated, by TCP.
func (n named) fault(kind, byUDP, byTCP string) strategytest.Fault {
	udp, tcp := fmt.Sprintf("udp %s %s %s", n.server, n.name, kind), fmt.Sprintf("tcp %s %s %s", n.server, n.name, kind)
	return strategytest.Fault{
		Break: func() { n.set(udp, byUDP); n.set(tcp, byTCP) },
		Mend:  func() { n.unset(udp); n.unset(tcp) },
	}
}

// faults has the questions of a type be answered wrongly: at once, as a server
// does whose timeout can be long.
func (n named) faults(kind string) map[string]strategytest.Fault {
	faults := map[string]strategytest.Fault{}
	for _, text := range []string{"SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "NOTAUTH", "BADVERS", "-aa"} {
		faults[text] = n.fault(kind, text, "")
	}
	truncated := "tc" // without a part, of which the suite would not know
	if kind == "A" {
		truncated = "tc|" + n.name + " 1 A 10.0.0.2"
	}
	for _, text := range []string{truncated, "SERVFAIL", "closed", "cut" + a2, "short"} {
		faults["truncated, by TCP "+text] = n.fault(kind, truncated, text)
	}
	faults["in a circle"] = n.fault(kind, "|"+n.name+" 1 CNAME a.|a. 1 CNAME "+n.name, "")
	return faults
}

// A conformer is a kind of strategy that is to keep the contract.
type conformer struct {
	strategy func(server string) cluster.Strategy
	name     string // that it asks for
	kind     string // of the records that are to fail
	hints    bool
	nodes    []cluster.Node
}

func conformers() map[string]conformer {
	const interval, long = 20 * time.Millisecond, 5 * time.Second
	web := func(change func(*Strategy)) func(string) cluster.Strategy {
		return func(server string) cluster.Strategy {
			s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{server}, Interval: interval, Timeout: long, Attempts: 1, Authoritative: true}
			change(&s)
			return s
		}
	}
	pods := func(change func(*Kubernetes)) func(string) cluster.Strategy {
		return func(server string) cluster.Strategy {
			k := Kubernetes{Service: "web", Namespace: "prod", Domain: "k8s", Port: 4370, Servers: []string{server}, Interval: interval, Timeout: long, Attempts: 1}
			change(&k)
			return k
		}
	}
	names := []cluster.Node{"web-0.internal:4370", "web-1.internal:4370", "web-2.internal:4370", "web-3.internal:4371"}
	return map[string]conformer{
		"authoritative":  {web(func(*Strategy) {}), "web.", "A", false, nil},
		"one family":     {web(func(*Strategy) {}), "web.", "AAAA", false, nil},
		"hints":          {web(func(s *Strategy) { s.Authoritative = false }), "web.", "A", true, nil},
		"SRV":            {web(func(s *Strategy) { s.SRV, s.Port = true, 0 }), "web.", "SRV", false, nil},
		"SRV, names":     {web(func(s *Strategy) { s.SRV, s.Names, s.Port = true, true, 0 }), "web.", "SRV", false, names},
		"Kubernetes":     {pods(func(*Kubernetes) {}), "web.prod.svc.k8s.", "A", false, nil},
		"Kubernetes SRV": {pods(func(k *Kubernetes) { k.SRV, k.PortName, k.Port = true, "cluster", 0 }), "_cluster._tcp.web.prod.svc.k8s.", "SRV", false, names},
	}
}

// harness is a conformer's: source makes the server, and the strategy that asks
// that.
func (c conformer) harness(source func(testing.TB) (named, cluster.Strategy, map[string]strategytest.Fault)) strategytest.Harness {
	h := strategytest.Harness{Hints: c.hints, Nodes: c.nodes, Within: time.Minute, New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
		tb.Helper()
		n, s, faults := source(tb)
		n.stands(nodes...)
		if c.hints {
			faults["NXDOMAIN"] = n.fault(c.kind, "NXDOMAIN", "")
		}
		return strategytest.Source{Strategy: s, Set: n.stands, Faults: faults}
	}}
	if c.hints {
		h.Cannot.Empty = "a name without addresses is a failure where answers are hints"
	}
	return h
}

// TestConformance is for all faults, without a network, so that it takes no time.
func TestConformance(t *testing.T) {
	for name, c := range conformers() {
		t.Run(name, func(t *testing.T) {
			h := c.harness(func(tb testing.TB) (named, cluster.Strategy, map[string]strategytest.Fault) {
				tb.Helper()
				n := named{&fake{says: map[string]string{}}, "10.0.0.53:53", c.name}
				faults := n.faults(c.kind)
				for _, text := range []string{"silent", "closed", "cut" + a2, "short", "id" + a2} {
					faults[text] = n.fault(c.kind, text, "")
				}
				faults["truncated, by TCP silent"] = n.fault(c.kind, "tc", "silent")
				return n, overFake(tb, c.strategy(n.server), n.fake), faults
			})
			h.Bubble = true
			strategytest.Test(t, h)
		})
	}
}

// overFake has a strategy ask a fake.
func overFake(tb testing.TB, strategy cluster.Strategy, f *fake) cluster.Strategy {
	tb.Helper()
	if k, is := strategy.(Kubernetes); is {
		s, err := k.strategy(podFacts{os.Getenv, os.ReadFile})
		if err != nil {
			tb.Fatal(err)
		}
		return over{s, f.exchange}
	}
	return over{strategy.(Strategy), f.exchange}
}

// TestConformanceServer is for faults that are answers, over a network: how long
// the machine takes for them is of no matter.
func TestConformanceServer(t *testing.T) {
	t.Parallel()
	for name, c := range conformers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := c.harness(func(tb testing.TB) (named, cluster.Strategy, map[string]strategytest.Fault) {
				tb.Helper()
				srv := newServer(tb)
				n := named{&srv.fake, srv.addr, c.name}
				faults := n.faults(c.kind)
				faults["gone"] = strategytest.Fault{Break: srv.stop, Mend: srv.start}
				return n, c.strategy(srv.addr), faults
			})
			h.Parallel = true
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
