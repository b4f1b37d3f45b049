package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/libcluster-go/cluster"
)

// spacing is the least time between two answers: the first change is told at once,
// and what comes right after it, together.
const spacing = 20 * time.Millisecond

// patience is how long the first answer waits for namespaces that are slow, before
// what the others have said counts without them.
const patience = time.Second

// Run implements [cluster.Strategy]: the whole answer as soon as everything has
// been listed, and one more at every change, until ctx is done. Its error is that
// of Validate.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	return s.run(ctx, r, ofProcess(), usual())
}

func (s Strategy) run(ctx context.Context, r *cluster.Roster, env environment, limits times) error {
	namespaces, err := s.check(env)
	if err != nil {
		return err
	}
	b := newBoard(namespaces)
	run := newGroup(ctx)
	for _, section := range b.sections {
		run.goes(s.watcher(env, limits, b, section).run)
	}
	run.goes(func(ctx context.Context) { s.tell(ctx, r, b, s.naming(env, r.Self())) })
	run.wait()
	return nil
}

// tell tells the roster what the board says, whenever that has changed.
func (s Strategy) tell(ctx context.Context, r *cluster.Roster, b *board, n naming) {
	var t teller
	v := view{waiting: true}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-b.changed:
		case <-late.C:
			if t.late = true; !v.waiting {
				continue
			}
		case <-ctx.Done():
			return
		}
		v = b.read(n)
		for _, c := range t.say(v) {
			switch c.Kind { //nolint:exhaustive // it says no others
			case cluster.Replaced:
				r.Replace(c.Nodes, c.Keep...)
			case cluster.Added:
				r.Add(c.Nodes...)
			case cluster.Failed:
				r.Fail(c.Err)
			}
		}
		if !sleep(ctx, spacing) {
			return
		}
	}
}

// watcher is the one that writes a section of the board.
func (s Strategy) watcher(env environment, limits times, b *board, section *section) *watcher {
	w := &watcher{
		open:      func(ctx context.Context) (*Client, error) { return s.open(ctx, env, limits) },
		source:    s.Source,
		namespace: section.namespace,
		labels:    s.Selector,
		fields:    s.FieldSelector,
		portName:  s.PortName,
		cached:    s.UseCachedResources,
		relist:    cmp.Or(s.Relist, DefaultRelist),
		timeout:   limits.answer,
		board:     b,
		section:   section,
	}
	switch {
	case s.Service == "":
	case s.Source == EndpointSlices:
		w.labels = strings.TrimPrefix(s.Selector+","+discoveryv1.LabelServiceName+"="+s.Service, ",")
	case s.Source == Endpoints: // which have the name of their service
		w.fields = "metadata.name=" + s.Service
	}
	return w
}

// naming is how nodes are made of endpoints, for this node.
func (s Strategy) naming(env environment, self cluster.Node) naming {
	n := naming{
		mode: s.Mode, basename: s.Basename, port: s.Port, portName: s.PortName, domain: s.domain(env),
		only: s.Family, includeNotReady: s.IncludeNotReady, self: s.self(env),
	}
	switch {
	case s.Service != "" && s.Source == Endpoints:
		n.required = fmt.Sprintf("Endpoints object of service %q", s.Service)
	case s.Service != "" && s.Selector != "":
		n.required = fmt.Sprintf("EndpointSlice of service %q with the labels %q", s.Service, s.Selector)
	case s.Service != "":
		n.required = fmt.Sprintf("EndpointSlice of service %q", s.Service)
	}
	if s.PortName == "" {
		n.port = cmp.Or(s.Port, self.Port(), DefaultPort)
	}
	own, known := self.IP()
	if !known {
		own = n.self.addr
	}
	n.prefer6 = s.Family == PreferIPv6 || s.Family == SameFamily && own.IsValid() && is6(own)
	return n
}

func is6(addr netip.Addr) bool { return addr.Unmap().Is6() }

func (s Strategy) domain(env environment) string {
	return strings.TrimSuffix(cmp.Or(s.Domain, env.getenv(EnvDomain), defaultDomain), ".")
}

// namespaces are those in which to look, each once; inContext is that of the
// kubeconfig's context.
func (s Strategy) namespaces(env environment, inContext string) ([]string, error) {
	for i, n := range s.Namespaces {
		if err := checkLabel(fmt.Sprintf("Namespaces[%d]", i), n, "default"); err != nil {
			return nil, err
		}
	}
	if len(s.Namespaces) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(s.Namespaces))), nil
	}
	if s.Kubeconfig != "" && s.Client == nil {
		return []string{inContext}, nil
	}
	namespace, err := s.ownNamespace(env)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: Namespaces is empty, and this pod's own isn't known: %w; set one of them", err)
	}
	if err := checkLabel("Namespaces is empty, and this pod's own", namespace, "default"); err != nil {
		return nil, err
	}
	return []string{namespace}, nil
}
