package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/libcluster-go/cluster/transport"
)

type (
	// Node names an instance of a service: "host:port" or "name@host:port".
	Node = transport.Node

	// Transport holds the connections to other nodes.
	Transport = transport.Transport
)

// A Topology is a set of nodes that belong together: how they are discovered
// and how they are connected. It is copied, and its strategy and transport are
// used, not changed.
type Topology struct {
	// Name tells it from the others, in logs, events and status, and for
	// [Supervisor.Apply], to which the same name means the same topology.
	Name string

	// Strategy discovers its nodes. If it has a method Validate() error, Start
	// and Apply call that first.
	Strategy Strategy

	// Transport connects its nodes. Nil means the three funcs if they are
	// given, else the supervisor's transport. Topologies of one transport count
	// together: a node is disconnected only when none of them wants it. Its
	// type must be comparable, as a pointer is.
	Transport Transport

	// Connect, Disconnect and ListNodes are instead of a Transport: all three
	// or none. They are called as those of a [Transport] are, and such a
	// topology counts for itself. ListNodes may not be nil, since nobody else
	// knows what is connected; it lists a node by the name by which Connect got
	// it.
	Connect    func(ctx context.Context, n Node) error
	Disconnect func(ctx context.Context, n Node) error
	ListNodes  func(ctx context.Context) ([]Node, error)

	// Self is this node where the three funcs are given: it is never
	// connected. Empty means that the strategy finds only other nodes, or that
	// Connect returns [transport.ErrSelf] for this one.
	Self Node
}

// A Strategy discovers the nodes of one topology.
//
// It may also have Validate() error, which Start and Apply call before anything
// runs, and Equal(Strategy) bool, by which Apply finds out whether it has
// changed; without that, reflect.DeepEqual does.
type Strategy interface {
	// Run writes what it finds to r until ctx is done, and returns once every
	// goroutine that it started has ended. nil means that there is nothing more
	// to discover, and that what it found stays wanted. After an error or a
	// panic it is run again after a backoff of 100 ms to 30 s. It is called
	// from a goroutine of the topology's own, once at a time for each topology;
	// a value that serves several topologies is run by all of them at once.
	Run(ctx context.Context, r *Roster) error
}

// hooks makes a transport of the topology's three funcs.
type hooks struct {
	self       Node
	connect    func(ctx context.Context, n Node) error
	disconnect func(ctx context.Context, n Node) error
	list       func(ctx context.Context) ([]Node, error)
}

func (h *hooks) Self() Node                                    { return h.self }
func (h *hooks) Connect(ctx context.Context, n Node) error     { return h.connect(ctx, n) }
func (h *hooks) Disconnect(ctx context.Context, n Node) error  { return h.disconnect(ctx, n) }
func (h *hooks) ListNodes(ctx context.Context) ([]Node, error) { return h.list(ctx) }
func (t *Topology) hasFuncs() bool                             { return t.Connect != nil }
func (t *Topology) hooks() *hooks                              { return &hooks{t.Self, t.Connect, t.Disconnect, t.ListNodes} }

// validate reports every mistake in the topologies. Those without a transport
// or funcs get the default one.
func validate(topologies []Topology) error {
	var errs []error
	first := map[string]int{}
	for i := range topologies {
		t := &topologies[i]
		if j, dup := first[t.Name]; dup && t.Name != "" {
			errs = append(errs, fmt.Errorf("cluster: topologies %d and %d are both named %q; give each a Name of its own", j, i, t.Name))
		} else {
			first[t.Name] = i
		}
		if err := t.validate(i); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *Topology) validate(i int) error {
	if t.Name == "" && isNil(t.Strategy) {
		return fmt.Errorf("cluster: topology %d has neither a Name nor a Strategy; give it both", i)
	}
	if t.Name == "" {
		return fmt.Errorf("cluster: topology %d (strategy %s) has no Name; give it one, such as \"web\"", i, strategyName(t.Strategy))
	}
	return errors.Join(t.validateStrategy(), t.validateTransport())
}

func (t *Topology) validateStrategy() error {
	if t.Strategy == nil {
		return fmt.Errorf("cluster: topology %q has no Strategy; set one, such as static.Strategy or cluster.Poll", t.Name)
	}
	if isNil(t.Strategy) {
		return fmt.Errorf("cluster: topology %q: Strategy is a nil %T; set one, such as static.Strategy or cluster.Poll", t.Name, t.Strategy)
	}
	if v, ok := t.Strategy.(interface{ Validate() error }); ok {
		var errs []error
		for _, err := range joined(v.Validate()) {
			errs = append(errs, fmt.Errorf("cluster: topology %q: Strategy %s: %w", t.Name, strategyName(t.Strategy), err))
		}
		return errors.Join(errs...)
	}
	return nil
}

// joined are the errors that errors.Join has joined, each of which is a line of its
// own. Another error of several may say more than they do, and is one.
func joined(err error) []error {
	var several interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &several) || errors.Join(several.Unwrap()...).Error() != err.Error():
		return []error{err}
	}
	var errs []error
	for _, e := range several.Unwrap() {
		errs = append(errs, joined(e)...)
	}
	return errs
}

func (t *Topology) validateTransport() error {
	var given, missing []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"Connect", t.Connect != nil}, {"Disconnect", t.Disconnect != nil}, {"ListNodes", t.ListNodes != nil}} {
		if f.set {
			given = append(given, f.name)
		} else {
			missing = append(missing, f.name)
		}
	}
	switch {
	case len(given) > 0 && len(missing) > 0:
		is := "is"
		if len(given) > 1 {
			is = "are"
		}
		return fmt.Errorf("cluster: topology %q: %s %s set, but not %s; set all three funcs, or none and a Transport",
			t.Name, strings.Join(given, " and "), is, strings.Join(missing, " and "))
	case len(given) > 0 && t.Transport != nil:
		return fmt.Errorf("cluster: topology %q: both Transport (%T) and the three funcs are set; set one of the two", t.Name, t.Transport)
	case t.Transport != nil && validateShared(t.Transport) != nil:
		return fmt.Errorf("cluster: topology %q: Transport is %w", t.Name, validateShared(t.Transport))
	case t.Self != "" && len(given) == 0:
		return fmt.Errorf("cluster: topology %q: Self is %q, but a transport has its own; set Self only beside the three funcs", t.Name, t.Self)
	}
	if t.Self == "" {
		return nil
	}
	self, err := transport.ParseNode(string(t.Self))
	if err != nil {
		return fmt.Errorf("cluster: topology %q: Self: %w", t.Name, err)
	}
	t.Self = self
	return nil
}

// validateShared checks that topologies can share a transport. Its error says
// what the transport is.
func validateShared(t Transport) error {
	switch {
	case isNil(t):
		return fmt.Errorf("a nil %T; leave it out for the default", t)
	case !reflect.ValueOf(t).Comparable():
		return fmt.Errorf("a %T, which can't be compared, so that topologies could not share it; use a pointer", t)
	default:
		return nil
	}
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Interface, reflect.Slice, reflect.Chan:
		return r.IsNil()
	default:
		return false
	}
}

// strategyName is the type, as it is written in a program.
func strategyName(s Strategy) string {
	if n, ok := s.(interface{ strategyName() string }); ok && !isNil(s) {
		return n.strategyName()
	}
	return fmt.Sprintf("%T", s)
}

// sameStrategy is called without a lock: Equal is the user's.
func sameStrategy(a, b Strategy) bool {
	if e, ok := a.(interface{ Equal(Strategy) bool }); ok {
		return e.Equal(b)
	}
	return reflect.DeepEqual(a, b)
}
