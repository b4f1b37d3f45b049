package kubernetes

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/libcluster-go/cluster"
)

// A view is what the board says at one time.
type view struct {
	nodes, keep []cluster.Node
	bad         error   // what is wrong with the objects that there are, or aren't
	failures    []error // of the sections that have failed
	waiting     bool    // for a section of which nothing is known for sure yet
}

// read returns the view of a board.
func (b *board) read(n naming) view {
	b.mu.Lock()
	defer b.mu.Unlock()
	var v view
	var bad []error
	for _, s := range b.sections {
		if s.err != nil {
			v.failures = append(v.failures, s.err)
		}
		if !s.synced {
			v.waiting = v.waiting || s.err == nil
		}
		var endpoints []endpoint
		for _, name := range slices.Sorted(maps.Keys(s.objects)) {
			endpoints = append(endpoints, s.objects[name].endpoints...)
		}
		bad = append(bad, s.lacks(n.required))
		nodes, keep, err := n.nodes(s.namespace, endpoints)
		v.nodes, v.keep = append(v.nodes, nodes...), append(v.keep, keep...)
		if err != nil {
			bad = append(bad, fmt.Errorf("kubernetes: namespace %q: %w", s.namespace, err))
		}
	}
	v.bad = errors.Join(bad...)
	return v
}

// lacks is why the objects of a section can't be the whole answer. There is at
// least one that is required, though it be empty, and its lack means anything else
// than nobody: a mistake in a name, or a service that was deleted.
func (s *section) lacks(required string) error {
	if s.synced && len(s.objects) == 0 && required != "" {
		return fmt.Errorf("kubernetes: no %s in namespace %q; is there one?", required, s.namespace)
	}
	for name, e := range s.objects {
		if e.truncated {
			return fmt.Errorf("kubernetes: namespace %q: the Endpoints object %q is truncated, after 1,000 addresses; set Source to EndpointSlices", s.namespace, name)
		}
	}
	return nil
}

// A teller tells a roster what views say.
type teller struct {
	known map[cluster.Node]bool // the last whole answer, and what was added since
	late  bool                  // there is no more waiting for what is slow
}

// say returns what the roster is to be told, in order; nothing while it is too
// early. Only a view of which every part is good is a whole answer. Of another,
// just what is new is added: what was added once, isn't cut as long as it lives.
func (t *teller) say(v view) []cluster.Change {
	err := errors.Join(append(v.failures, v.bad)...)
	switch {
	case err == nil && v.waiting && !t.late:
		return nil
	case err == nil && !v.waiting:
		t.known = make(map[cluster.Node]bool, len(v.nodes))
		t.learn(v.nodes)
		return []cluster.Change{{Kind: cluster.Replaced, Nodes: v.nodes, Keep: v.keep}}
	}
	var told []cluster.Change
	if fresh := t.learn(v.nodes); len(fresh) > 0 {
		told = append(told, cluster.Change{Kind: cluster.Added, Nodes: fresh})
	}
	if err != nil {
		told = append(told, cluster.Change{Kind: cluster.Failed, Err: err})
	}
	return told
}

// learn returns those of the nodes that weren't known.
func (t *teller) learn(nodes []cluster.Node) (fresh []cluster.Node) {
	if t.known == nil {
		t.known = map[cluster.Node]bool{}
	}
	for _, n := range nodes {
		if !t.known[n] {
			t.known[n] = true
			fresh = append(fresh, n)
		}
	}
	return fresh
}
