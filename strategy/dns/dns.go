package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

const (
	defaultInterval = 5 * time.Second
	// shortest is between two rounds of questions, whatever the TTL says, and
	// after a first failure.
	shortest = time.Second
	// leastTime is the least Interval and Timeout: less is a number without its
	// unit.
	leastTime = 10 * time.Millisecond
	// maxJitter leaves a change to be seen within the TTL and a second.
	maxJitter = 500 * time.Millisecond
	// maxRound bounds all questions of a round together.
	maxRound = time.Minute
)

// Strategy discovers the nodes that DNS names stand for. Queries must be given,
// and Port unless SRV is set.
type Strategy struct {
	// Queries are the names that are asked for, such as "web.internal.". One
	// that ends in a dot is complete; to others the search list of resolv.conf
	// applies. What they stand for is taken together.
	Queries []string

	// SRV asks for SRV records instead of addresses: each names a host and a
	// port. The host's addresses are those in the additional section of the
	// answer, which may lack some: if it has none there, they are asked for, and
	// with Authoritative those of each family of which it has none there.
	// Priority and weight, which are for clients that choose one server, are
	// ignored: all are nodes.
	SRV bool

	// Names passes the hosts of SRV records on as names, which the transport
	// resolves at every attempt, instead of their addresses. So a node stays
	// the same when it comes back with another address. The transport does that
	// in its own way: Network must be empty, and Servers aren't asked for them.
	Names bool

	// Port is that of the addresses: 1 to 65535. It must be zero with SRV, and
	// may be with Resolver.
	Port int

	// Basename is the name of each node: with "web", an address is the node
	// "web@10.0.0.2:4370". Empty means nodes without a name.
	Basename string

	// Network is which addresses are asked for: "ip", which empty means, for
	// IPv4 and IPv6 (A and AAAA together), or only one of them, "ip4" or "ip6",
	// for names or servers that fail for the other.
	Network string

	// Authoritative takes an answer that is whole and successful, for each
	// query and in each family of Network, for the whole truth: a node that it
	// lacks lingers, and is disconnected after the remove grace. A name that
	// doesn't exist, or has no addresses, stands for nobody then. False means
	// that answers are hints. See "What an answer means" in the package's doc.
	Authoritative bool

	// Servers are asked instead of those of resolv.conf, in this order:
	// "10.0.0.53" or "127.0.0.1:8600"; the port is 53 if there is none. No
	// search list applies then. Nil means those of resolv.conf. With Names they
	// are asked for SRV records only: the transport resolves the hosts, by the
	// servers of the machine.
	Servers []string

	// ResolvConf is the file that names the servers, read in each round. Empty
	// means /etc/resolv.conf. Windows has none: set Servers or Resolver there.
	ResolvConf string

	// Interval is the longest time between two rounds of questions. If the
	// least TTL of an answer is shorter, it is asked again then, though not
	// within a second; up to a tenth, but at most half a second, is added as
	// jitter. After a failure it is asked again after a second, and twice as
	// late each time up to Interval, but when the TTL ends if a part of the
	// answer was good. An authoritative answer of nobody, for which nodes would
	// be given up, is confirmed by at least two more rounds: the time to the
	// next is then no longer than Roster.ConfirmWithin says, which is a fifth of
	// the remove grace, 6 s by default.
	//
	// A third of the remove grace at most is right for Authoritative: a node is
	// then seen missing several times before it is disconnected. An Interval under
	// a second, which is for tests, is the time between all rounds, whatever the
	// TTL says, and after failures too. Zero means 5 s; under 10 ms is refused.
	Interval time.Duration

	// Timeout is how long one server has to answer one question by UDP or TCP.
	// A server that lets it pass is asked last in the rest of the round. Zero
	// means what resolv.conf says, else 5 s; under 10 ms is refused.
	Timeout time.Duration

	// Attempts is how often all servers are asked in turn until one answers.
	// Zero means what resolv.conf says, else 2; negative is refused.
	Attempts int

	// Resolver, if not nil, is asked each of the Queries instead of servers, and
	// again every Interval. It returns hosts, names or addresses, as "host:port"
	// or "host", of which Port is the port. An error is a failure, that there is
	// no such name included; no hosts and no error are as NXDOMAIN is. What SRV,
	// Names, Network and Attempts say is its own affair; Timeout bounds a call.
	// Several queries are asked at once.
	//
	// net.DefaultResolver.LookupHost is one, for hints: it leaves out a family
	// that fails without saying so, and so can't be Authoritative.
	//
	// Since funcs can't be compared, Apply takes the strategy for a changed one.
	Resolver func(ctx context.Context, query string) (hosts []string, err error)
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right. It asks nobody.
func (s Strategy) Validate() error {
	return errors.Join(s.checkQueries(), s.checkNodes(), s.checkServers(), s.checkTimes())
}

func (s Strategy) checkQueries() error {
	if len(s.Queries) == 0 {
		return errors.New(`dns: Queries is empty; want at least one name, such as "web.internal."`)
	}
	var errs []error
	for i, q := range s.Queries {
		if err := checkName(q); err != nil {
			errs = append(errs, fmt.Errorf(`dns: Queries[%d] is %q, %w; want a name, such as "web.internal."`, i, q, err))
		}
	}
	return errors.Join(errs...)
}

// checkName says what is wrong with a name. Its error continues a sentence.
func checkName(name string) error {
	_, notAddress := netip.ParseAddr(name)
	_, ok := miekg.IsDomainName(name)
	switch {
	case name == "" || name == ".":
		return errors.New("which is no name")
	case notAddress == nil:
		return errors.New("which is an address already, for package static")
	case strings.Contains(name, ":"):
		return errors.New("which has a colon (for a port, set Port, or SRV)")
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '@' || r == '/' || r == '\\' }):
		return errors.New("which holds what no name does (international names have an xn-- form)")
	case !ok:
		return errors.New("whose labels have not 1 to 63 bytes, or 255 together")
	default:
		return nil
	}
}

func (s Strategy) checkNodes() error {
	var errs []error
	switch {
	case s.SRV && s.Port != 0 && s.Resolver == nil:
		errs = append(errs, fmt.Errorf("dns: Port is %d and SRV is true, whose records have ports of their own; set one of the two", s.Port))
	case s.Port < 0, s.Port > 65535, s.Port == 0 && !s.SRV && s.Resolver == nil:
		errs = append(errs, fmt.Errorf("dns: Port is %d; want that of the nodes, 1 to 65535, or SRV", s.Port))
	}
	if s.Names && !s.SRV {
		errs = append(errs, errors.New("dns: Names is true and SRV is false; only SRV records name hosts"))
	}
	if _, err := transport.ParseNode(s.node("localhost", 1)); err != nil {
		errs = append(errs, fmt.Errorf(`dns: Basename is %q: %w; want a name, such as "web"`, s.Basename, err))
	}
	switch s.Network {
	case "", "ip", "ip4", "ip6":
	default:
		errs = append(errs, fmt.Errorf(`dns: Network is %q; want "ip4", "ip6", or "ip" or nothing for both`, s.Network))
	}
	if s.Names && s.Resolver == nil && len(s.kinds()) == 1 {
		errs = append(errs, fmt.Errorf("dns: Network is %q and Names is true (Kubernetes: SRV), whose hosts the transport resolves, in both families; leave it empty", s.Network))
	}
	return errors.Join(errs...)
}

func (s Strategy) checkServers() error {
	var errs []error
	if s.Servers != nil {
		if _, err := serverAddrs(s.Servers); err != nil {
			errs = append(errs, err)
		}
		if s.ResolvConf != "" {
			errs = append(errs, fmt.Errorf("dns: Servers is %q and ResolvConf is %q; set one of the two", s.Servers, s.ResolvConf))
		}
	}
	if s.Resolver != nil && (s.Servers != nil || s.ResolvConf != "") {
		errs = append(errs, fmt.Errorf("dns: Resolver is set beside Servers (%q) or ResolvConf (%q), which it would not use; set one of them", s.Servers, s.ResolvConf))
	}
	return errors.Join(errs...)
}

func (s Strategy) checkTimes() error {
	var errs []error
	if s.Interval != 0 && s.Interval < leastTime {
		errs = append(errs, fmt.Errorf("dns: Interval is %s; want at least %s, such as 5*time.Second, or 0 for %s", s.Interval, leastTime, defaultInterval))
	}
	if s.Timeout != 0 && s.Timeout < leastTime {
		errs = append(errs, fmt.Errorf("dns: Timeout is %s; want at least %s, such as 2*time.Second, or 0 for resolv.conf's", s.Timeout, leastTime))
	}
	if s.Attempts < 0 {
		errs = append(errs, fmt.Errorf("dns: Attempts is %d; want at least 1, or 0 for resolv.conf's", s.Attempts))
	}
	return errors.Join(errs...)
}

// Run implements [cluster.Strategy]: it asks at once and again and again until
// ctx is done. Its error is that of Validate.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	return s.run(ctx, r, exchange)
}

func (s Strategy) run(ctx context.Context, r *cluster.Roster, exchange exchanger) error {
	if err := s.Validate(); err != nil {
		return err
	}
	var turn turns
	for failures := 0; ; {
		results := s.round(ctx, exchange, &turn)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end is no failure
		}
		said := verdict(s.Authoritative, results)
		tell(r, said)
		failures++
		if said[len(said)-1].Kind != cluster.Failed {
			failures = 0
		}
		wait := time.NewTimer(s.pause(holds(said, results), failures, r.ConfirmWithin(), rand.Float64()))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

// tell tells a verdict.
func tell(r *cluster.Roster, said []cluster.Change) {
	for _, c := range said {
		switch c.Kind { //nolint:exhaustive // a verdict has no others
		case cluster.Replaced:
			r.Replace(c.Nodes)
		case cluster.Added:
			r.Add(c.Nodes...)
		case cluster.Failed:
			r.Fail(c.Err)
		}
	}
}

// pause is how long to wait before the next round, after an answer that holds
// for ttl, and after so many failures, whole or in part. confirm is the roster's
// ConfirmWithin, and random is in [0,1).
func (s Strategy) pause(ttl time.Duration, failures int, confirm time.Duration, random float64) time.Duration {
	longest := s.Interval
	if longest == 0 {
		longest = defaultInterval
	}
	if failures > 0 {
		ttl = min(ttl, shortest<<min(failures-1, 16))
	}
	d := min(max(ttl, shortest), longest)
	d += time.Duration(random * float64(min(d/10, maxJitter)))
	if confirm > 0 {
		d = min(d, confirm)
	}
	return d
}

// round asks all queries, side by side, and returns a result for each.
func (s Strategy) round(ctx context.Context, exchange exchanger, turn *turns) []result {
	ctx, cancel := context.WithTimeoutCause(ctx, maxRound, fmt.Errorf("the questions have not ended within %s", maxRound))
	defer cancel()
	results := make([]result, len(s.Queries))
	if s.Resolver != nil {
		side(len(results), func(i int) { results[i] = s.askResolver(ctx, s.Queries[i]) })
		return results
	}
	cfg, err := s.config()
	if err != nil {
		return []result{{ttl: forever, errs: []error{err}}}
	}
	c := newClient(cfg, s, exchange, turn)
	side(len(results), func(i int) { results[i] = c.lookup(ctx, s.Queries[i]) })
	return results
}

// askResolver asks the user's func.
func (s Strategy) askResolver(ctx context.Context, query string) result {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	hosts, err := s.Resolver(ctx, query)
	res := result{ttl: forever}
	if err != nil {
		res.errs = []error{fmt.Errorf("dns: Resolver for %q: %w", query, err)}
		return res
	}
	for _, h := range hosts {
		n, err := transport.ParseNodeWithPort(s.named(h), s.Port)
		if err != nil {
			res.errs = append(res.errs, fmt.Errorf("dns: Resolver for %q: %w", query, err))
			continue
		}
		res.nodes = append(res.nodes, n)
	}
	if len(hosts) == 0 {
		res.none = []error{fmt.Errorf("dns: Resolver for %q: no hosts", query)}
	}
	return res
}
