// Package dns discovers the nodes that DNS names stand for: by A and AAAA
// records together, or by SRV records.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: dns.Strategy{Queries: []string{"web.internal."}, Port: 4370},
//	}
//
// For the headless services of Kubernetes, there is [Kubernetes].
//
// # What an answer means
//
// DNS is a hint and not a roll-call: of 50 nodes, an answer may hold 5. What it
// holds is connected (Roster.Add), and nothing is disconnected for what it
// lacks.
//
// With Strategy.Authoritative, an answer counts as the whole truth
// (Roster.Replace) if it is whole: each query was answered with success, in both
// address families (of Strategy.Network, if set), without being truncated, and
// each host of an SRV record has been found, in both families as well; with
// Strategy.Names it need not be. Whom it lacks lingers, and is disconnected after
// the remove grace (cluster.WithRemoveGrace). It is for sources that always list
// all: a headless service of Kubernetes, or a zone file.
//
//	                                 as hints        authoritative
//	whole, with addresses            Add             Replace
//	NXDOMAIN, NODATA                 Fail            Replace, with nobody
//	one family or query failed       Add and Fail    Add and Fail
//	truncated, and no whole by TCP   Add and Fail    Add and Fail
//	an SRV record's host not found   Add and Fail    Add and Fail
//	SERVFAIL, REFUSED, …; timeout    Fail            Fail
//	malformed, cut short, forged     Fail            Fail
//	no server; no resolv.conf        Fail            Fail
//
// A failure never removes a node. Its error says which name and type were asked
// for, of which server, and what came back ([QueryError]), in one line, with each
// cause once, however many names it is of.
//
// # How servers are asked
//
// As resolv.conf(5) says, with its servers, search, ndots, timeout, attempts and
// rotate; the file is read in each round. The next server is asked after a
// timeout, any code but NOERROR and NXDOMAIN, and a referral. One that has timed
// out is asked last for the rest of the round. Queries have EDNS0 (RFC 6891),
// unless a server doesn't know that; a truncated answer is asked for again by TCP;
// CNAMEs are followed, 8 at most, in the answer and by asking again together.
//
// The search list is left at the first name that has records. Where one can't be
// asked for, other resolvers of resolv.conf(5) go on after some failures, and
// return what the next name stands for as if nothing had happened. Here it is told
// of: hints go on to the next name (Add and Fail), and where answers are
// authoritative, the list is left, since another name might stand for others.
//
// There is no cache of its own: a round asks for everything anew, and the next
// one begins when the least TTL is over (Strategy.Interval).
//
// # Docker Swarm
//
// tasks.<service> stands for all tasks of a service, and the service's own name
// for a virtual address.
//
//	dns.Strategy{Queries: []string{"tasks.web"}, Port: 4370}
//
// # Docker Compose
//
// The name of a service stands for all its containers (docker compose up
// --scale web=3).
//
//	dns.Strategy{Queries: []string{"web"}, Port: 4370}
//
// # Consul
//
// Services have ports in Consul, which SRV records tell. Consul's agent listens
// on port 8600, lists only healthy instances, and leaves out those that don't fit
// into a packet without saying so, unless dns_config.enable_truncate is set: its
// answers are hints.
//
//	dns.Strategy{Queries: []string{"web.service.consul."}, SRV: true, Servers: []string{"127.0.0.1:8600"}}
//
// # AWS Cloud Map
//
// The service web of the private DNS namespace internal. Route 53 answers with at
// most 8 healthy instances, chosen at random: its answers are hints.
//
//	dns.Strategy{Queries: []string{"web.internal."}, Port: 4370}
//
// # Fly.io
//
// The machines of the app web, in the private network, which is IPv6 only.
//
//	dns.Strategy{Queries: []string{"web.internal."}, Network: "ip6", Port: 4370}
//
// # Nomad
//
// Nomad registers services in Consul, with ports that it chooses. From a task
// with a network of its own, the agent is at the address of the host's bridge.
//
//	dns.Strategy{Queries: []string{"_web._tcp.service.consul."}, SRV: true, Servers: []string{"172.17.0.1:8600"}}
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once. Questions of a
// round are asked side by side, at most 16 names at a time for each query; all
// goroutines of a round end with it.
package dns
