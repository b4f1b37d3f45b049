package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// WaitConverged waits until the cluster is as whole as it gets:
//
//   - each topology's strategy has answered, failed or ended once;
//   - every node that they want is linked, or can't be reached: its attempts have
//     failed for 5 seconds, in which others that start at the same time are there.
//     Such a node is dialled on, but not waited for;
//   - on a transport whose nodes compare whom they see (a [transport.Agreer], as
//     the mesh), all that are linked have agreed for a heartbeat: 5 seconds unless
//     mesh.Config.Heartbeat says otherwise. A node alone agrees with itself.
//
// Nodes that aren't meant to be linked all with each other never agree, and in a mesh
// without peer exchange that is a matter of what their topologies want.
//
// It says what was so at one moment: nodes may come and go right after. Its error
// is a [NotConvergedError], which names what is missing and wraps the cause of
// ctx, or [ErrStopped]. It may be called from any goroutine, hooks included, but
// not from a transport's Agreement, which it calls.
func (s *Supervisor) WaitConverged(ctx context.Context) error {
	look := time.NewTicker(time.Second) // that a node can't be reached, only time tells
	defer look.Stop()
	for {
		changed := s.changed.Wait()
		if s.ctx.Err() == nil && s.converged() {
			return nil
		}
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return s.missing(context.Cause(ctx))
		case <-s.ctx.Done():
			return s.missing(ErrStopped)
		}
	}
}

// A NotConvergedError says what [Supervisor.WaitConverged] was still waiting for.
type NotConvergedError struct {
	// Silent are the topologies whose strategy has said nothing yet.
	Silent []string
	// Nodes are those that are wanted and not linked. One that has Attempts can't
	// be reached, and isn't waited for.
	Nodes []NodeStatus
	// Apart are pairs of nodes that aren't linked with each other, as far as
	// they tell, and Differ those that see others than this node does.
	Apart  []transport.Pair
	Differ []Node
	// Err is the cause of the context's end, or [ErrStopped].
	Err error
}

// maxNamed is how many of each kind an error's text names.
const maxNamed = 8

func (e *NotConvergedError) Error() string {
	var parts []string
	say := func(what string, of []string) {
		if len(of) > maxNamed {
			of = append(slices.Clip(of[:maxNamed]), fmt.Sprintf("and %d more", len(of)-maxNamed))
		}
		if len(of) > 0 {
			parts = append(parts, what+strings.Join(of, ", "))
		}
	}
	var waiting, failed []string
	for _, n := range e.Nodes {
		switch {
		case n.Attempts == 0:
			waiting = append(waiting, string(n.Node))
		case n.LastError == nil: // it was linked, and lost at once
			failed = append(failed, string(n.Node))
		default:
			failed = append(failed, fmt.Sprintf("%s (%v)", n.Node, n.LastError))
		}
	}
	pairs := make([]string, len(e.Apart))
	for i, p := range e.Apart {
		pairs[i] = p.String()
	}
	differ := make([]string, len(e.Differ))
	for i, n := range e.Differ {
		differ[i] = string(n)
	}
	say("topologies that have not answered: ", e.Silent)
	say("nodes that are being connected: ", waiting)
	say("nodes that can't be reached: ", failed)
	say("not linked with each other: ", pairs)
	say("other nodes are seen by: ", differ)
	if len(parts) == 0 {
		parts = append(parts, "not for long enough yet")
	}
	return fmt.Sprintf("cluster: not converged: %s: %v", strings.Join(parts, "; "), e.Err)
}

// Unwrap returns the cause.
func (e *NotConvergedError) Unwrap() error { return e.Err }

// converged reports whether nothing is missing. The transports are asked last,
// so that their answers are about the links that have been looked at.
func (s *Supervisor) converged() bool {
	runners, groups := s.running()
	for _, r := range runners {
		if r.silent() || r.connecting() {
			return false
		}
	}
	told := s.Nodes()
	for _, g := range groups {
		if !g.areTold(told) {
			return false
		}
		if a, err := g.agreement(); err != nil || !a.Agreed {
			return false
		}
	}
	return true
}

// areTold reports whether all links are among the nodes that have been told, which
// are sorted.
func (g *group) areTold(told []Node) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := range g.core.links {
		if _, ok := slices.BinarySearch(told, n); !ok {
			return false
		}
	}
	return true
}

// missing is what isn't there yet, and why it isn't waited for any longer.
func (s *Supervisor) missing(cause error) error {
	e := &NotConvergedError{Err: cause}
	runners, groups := s.running()
	for _, r := range runners {
		if r.silent() {
			e.Silent = append(e.Silent, r.name)
		}
		for _, n := range r.status().Nodes {
			if n.Want.dials() && !n.Connected && !n.Self {
				e.Nodes = append(e.Nodes, n)
			}
		}
	}
	for _, g := range groups {
		a, err := g.agreement()
		if err != nil {
			e.Err = errors.Join(e.Err, err)
		}
		e.Apart, e.Differ = append(e.Apart, a.Apart...), append(e.Differ, a.Differ...)
	}
	return e
}

// running are the topologies, and the transports that they use or share.
func (s *Supervisor) running() ([]*runner, []*group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := map[*group]bool{}
	for _, r := range s.runners {
		r.mu.Lock()
		groups[r.group] = true
		r.mu.Unlock()
	}
	if g := s.groups[any(s.opts.transport)]; g != nil && s.opts.transport != nil {
		groups[g] = true
	}
	return slices.Clone(s.runners), slices.Collect(maps.Keys(groups))
}

// silent reports whether the strategy has said nothing yet.
func (r *runner) silent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.heard
}

// unreachableAfter is for how long attempts must have failed.
const unreachableAfter = 5 * time.Second

// connecting reports whether a node is wanted that is neither linked nor beyond
// reach.
func (r *runner) connecting() bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.group.mu.Lock()
	defer r.group.mu.Unlock()
	return r.wants.some(func(n Node) bool {
		t := r.group.core.targets[n]
		switch {
		case t == nil || !t.dials: // before the next step
			return true
		case t.up || t.self:
			return false
		default:
			return t.attempts == 0 || t.tried.IsZero() || now.Sub(t.tried) < unreachableAfter
		}
	})
}

// some reports whether any of the nodes to be dialled is such a one.
func (w *wants) some(such func(Node) bool) bool {
	for n := range w.hints {
		if such(n) {
			return true
		}
	}
	for n := range w.answers {
		if w.want(n).dials() && such(n) {
			return true
		}
	}
	return false
}

// isolated reports whether there is no link at all though a topology names
// others.
func (c *core) isolated(w *wants) bool {
	return len(c.links) == 0 && w.some(func(n Node) bool { t := c.targets[n]; return t == nil || !t.self })
}

// agreement asks the transport, if it compares what the nodes see. One that
// doesn't agrees.
func (g *group) agreement() (a transport.Agreement, err error) {
	a.Agreed = true
	err = g.call(g.sup.ctx, "Agreement", func(_ context.Context, t Transport) error {
		if c, ok := t.(transport.Agreer); ok {
			a = c.Agreement()
		}
		return nil
	})
	return a, err
}

// compare takes from an answer whether the nodes agree, and tells what is new.
func (c *core) compare(answer listed) {
	a, told := answer.agreement, c.diverged
	switch {
	case a.Diverged && (told == nil || !slices.Equal(told.Apart, a.Apart) || !slices.Equal(told.Differ, a.Differ)):
		c.diverged = &Diverged{Self: answer.self, Apart: a.Apart, Differ: a.Differ}
		c.events = append(c.events, *c.diverged)
	case !a.Diverged && told != nil:
		c.diverged = nil
		c.events = append(c.events, Converged{Self: told.Self})
	}
}
