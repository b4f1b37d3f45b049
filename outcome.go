package cluster

import (
	"errors"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// What the core is told: how what step began has ended.

// An outcome is how a call of Connect has ended.
type outcome struct {
	err      error
	self     bool // the node is this one
	partial  bool // some of what the name stands for is linked
	unwanted bool // the other side wants no link
}

// outcomeOf says what kind of error it is. It isn't for code under a lock: the
// error may have an Is or an Unwrap, which are user's code.
func outcomeOf(err error) outcome {
	return outcome{
		err: err, self: errors.Is(err, transport.ErrSelf),
		partial: errors.Is(err, transport.ErrPartial), unwanted: errors.Is(err, transport.ErrUnwanted),
	}
}

// leads says where the attempt led, of a node that isn't linked.
func (o outcome) leads() lead {
	switch {
	case o.self:
		return leadsHere
	case o.err == nil || o.partial || o.unwanted:
		return leadsElsewhere
	default:
		return leadsNowhere
	}
}

// connected takes the end of an attempt to connect a target, and the links that
// the transport said then that the target stands for. What else it stood for, it
// still does: only a listing tells that a link is gone.
func (c *core) connected(now time.Time, n Node, canon []Node, end outcome) {
	t := c.targets[n]
	c.seq++
	c.connecting--
	if t.retry {
		c.retrying--
	}
	if !c.aliases && end.err == nil {
		canon = []Node{n}
	}
	for _, x := range canon {
		if c.linked(now, x, c.seq) {
			c.doubt(now)
		}
		if other := c.targets[x]; other != nil && other != t {
			c.settle(now, other, append(slices.Clone(other.canon), x), false)
		}
	}
	c.settle(now, t, append(canon, t.canon...), false)
	c.claim()
	c.tellUp(now)
	t.connecting, t.self = false, end.self
	if leads := end.leads(); !t.up && leads != leadsNowhere {
		t.leads = leads
	}
	again := c.recheck(t, now)
	switch {
	case t.cancelled:
		t.attempts, t.failures, t.tried = 0, 0, time.Time{}
		if !t.up {
			t.next = now
		}
	case t.up && (end.err == nil || again.IsZero()): // or the other side has linked us meanwhile
		t.attempts, t.failures, t.err, t.next = 0, 0, nil, again
	case end.err == nil: // it was lost before it was seen
		t.flaps++
		t.attempts, t.err = 1, nil
		t.next = now.Add(backoff(t.flaps, c.random()))
	case t.self:
		t.attempts, t.failures, t.err = 0, 0, nil
		t.next = now.Add(recheckInterval) // a virtual address, too, leads to another at times
	default:
		c.failed(now, t, end)
	}
}

// failed notes an attempt in vain, or one of which a part was.
func (c *core) failed(now time.Time, t *target, end outcome) {
	t.attempts++
	t.err = end.err
	t.next = now.Add(backoff(t.attempts, c.random()))
	if end.unwanted {
		t.next = now.Add(backoffMax/2 + backoff(1<<10, c.random())/2)
	}
	if !end.partial {
		t.failures++
		c.events = append(c.events, ConnectFailed{
			Node: t.node, Topology: c.owner(t.node), Attempt: t.failures, Duration: now.Sub(t.began), Err: end.err,
		})
	}
}

// owner is the first topology that wants a target.
func (c *core) owner(n Node) string {
	for _, w := range c.wants {
		if w.want(n) != 0 {
			return w.topology
		}
	}
	return ""
}

// recheck is when a target that is up is looked at again; zero is never.
func (c *core) recheck(t *target, now time.Time) time.Time {
	if _, isIP := t.node.IP(); isIP || !c.aliases {
		return time.Time{}
	}
	return now.Add(recheckInterval)
}

// disconnected takes the end of an attempt to cut a link.
func (c *core) disconnected(now time.Time, n Node, err error) {
	c.seq++
	l, took := c.links[n], now.Sub(c.cutting[n])
	delete(c.cutting, n)
	if err != nil {
		if l != nil { // else it was lost meanwhile
			l.cuts++
			l.nextCut = now.Add(backoff(l.cuts, c.random()))
			c.events = append(c.events, DisconnectFailed{Node: n, Topology: l.topology, Attempt: l.cuts, Duration: took, Err: err})
		}
		return
	}
	c.gone[n] = c.seq
	if l == nil {
		return
	}
	c.unlinked(now, n, ErrRemoved)
	for _, t := range c.targets {
		if i := slices.Index(t.canon, n); i >= 0 { // it is wanted again
			t.canon = slices.Delete(slices.Clone(t.canon), i, i+1)
			t.next = now
			if t.up = len(t.canon) > 0; !t.up {
				t.changed = now
			}
		}
	}
}

// A listed is what the transport says about its links.
type listed struct {
	seq      uint64 // of the listing
	nodes    []Node
	canon    map[Node][]Node // by target
	departed map[Node]bool   // of the links that were asked about
	err      error

	self      Node // on the transport; empty if it doesn't compare nodes
	agreement transport.Agreement
}

// listEnded takes the transport's answer. What has been connected or cut since
// it was asked for stays as it is, and is asked for again.
func (c *core) listEnded(now time.Time, answer listed) {
	c.listing = false
	c.listNext = now.Add(c.reconcileInterval)
	if c.listAgain {
		c.listAgain, c.listNext = false, now
	}
	c.listErr = answer.err
	if answer.err != nil {
		c.listFailures++
		return
	}
	c.listFailures, c.heard = 0, answer.seq
	c.compare(answer)
	present := make(map[Node]bool, len(answer.nodes))
	for _, n := range answer.nodes {
		present[n] = true
		if c.gone[n] <= answer.seq {
			c.linked(now, n, 0)
			c.links[n].listed = true
		}
	}
	unlisted := map[Node]bool{}
	for n, l := range c.links {
		if present[n] {
			continue
		}
		if l.touched > answer.seq {
			c.listNext = now
			continue
		}
		cause := ErrLost
		switch {
		case c.cutsNow(n):
			cause = ErrRemoved
		case answer.departed[n]:
			cause = ErrLeft
		case !l.listed:
			cause = errUnlisted
			unlisted[n] = true
		}
		c.unlinked(now, n, cause)
	}
	for n, seq := range c.gone {
		if seq <= answer.seq {
			delete(c.gone, n)
		}
	}
	for _, t := range c.targets {
		t.unlisted = slices.ContainsFunc(t.canon, func(n Node) bool { return unlisted[n] })
		c.settle(now, t, c.canonOf(t, answer), slices.ContainsFunc(t.canon, func(n Node) bool { return answer.departed[n] }))
	}
	c.claim()
	c.tellUp(now)
}

// canonOf is what a target stands for after an answer: itself, and, of a name
// that the answer knows, what it says.
func (c *core) canonOf(t *target, answer listed) []Node {
	asked, known := answer.canon[t.node]
	return slices.DeleteFunc(slices.Concat([]Node{t.node}, asked, t.canon), func(n Node) bool {
		l := c.links[n]
		return l == nil || n != t.node && known && !slices.Contains(asked, n) && l.touched <= answer.seq
	})
}

// settle takes what a target stands for, and plans its next attempt if that has
// become less.
func (c *core) settle(now time.Time, t *target, canon []Node, departed bool) {
	canon = slices.Clone(canon)
	slices.Sort(canon)
	canon = slices.Compact(canon)
	for _, n := range canon {
		l := c.links[n]
		l.ours = true
		l.failures = max(l.failures, t.failures)
	}
	lost := slices.ContainsFunc(t.canon, func(n Node) bool { return !slices.Contains(canon, n) })
	wasUp := t.up
	t.canon, t.up = canon, len(canon) > 0
	if t.up {
		t.wasUp, t.leads = true, leadsElsewhere
	}
	switch {
	case t.up && !wasUp:
		t.changed, t.attempts, t.failures, t.err = now, 0, 0, nil
		t.tried = time.Time{}
		t.next = c.recheck(t, now)
	case t.up && lost:
		t.next = now // a name that has lost one of its nodes
	case !t.up && wasUp:
		t.next = now
		switch lived := now.Sub(t.changed); {
		case lived < flapTime || t.unlisted:
			t.flaps++
			t.attempts = 1
			t.next = now.Add(backoff(t.flaps, c.random()))
		default:
			t.flaps = 0
		}
		if departed {
			t.next = later(t.next, now.Add(departedPause))
		}
		t.changed = now
	}
}

// linked notes a link, and reports whether it is new. What is to be told about
// it waits for tellUp.
func (c *core) linked(now time.Time, n Node, touched uint64) (fresh bool) {
	l := c.links[n]
	if fresh = l == nil; fresh {
		l = &link{since: now}
		c.links[n] = l
		l.untold = true
	}
	l.touched = max(l.touched, touched)
	return fresh
}

// tellUp tells of the links that are new, once it is known whose they are.
func (c *core) tellUp(now time.Time) {
	var fresh []Node
	for n, l := range c.links {
		if l.untold {
			l.untold = false
			fresh = append(fresh, n)
		}
	}
	slices.Sort(fresh)
	for _, n := range fresh {
		l := c.links[n]
		c.events = append(c.events, NodeConnected{Node: n, Topology: l.topology, Duration: c.dialTime(now, n), Failures: l.failures})
	}
}

// dialTime is how long the attempt took that made a link; zero if none did.
func (c *core) dialTime(now time.Time, n Node) time.Duration {
	for _, t := range c.targets {
		if t.connecting && slices.Contains(t.canon, n) {
			return now.Sub(t.began)
		}
	}
	return 0
}

func (c *core) unlinked(now time.Time, n Node, cause error) {
	l := c.links[n]
	delete(c.links, n)
	c.events = append(c.events, NodeDisconnected{Node: n, Topology: l.topology, Cause: cause, Duration: now.Sub(l.since)})
}
