package rancher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
)

// What Strategy's fields are when they are zero.
const (
	DefaultBaseURL = "http://rancher-metadata/latest"
	DefaultPath    = "self/service"
	DefaultPort    = 4370

	defaultInterval = 5 * time.Second
)

// Strategy discovers the containers of a service. Its zero value discovers those
// of this container's own.
type Strategy struct {
	// BaseURL is that of the metadata and ends with its version, latest or a date,
	// of which 2015-12-19 is the oldest that will do. Empty means
	// http://rancher-metadata/latest.
	BaseURL string

	// Service is the name of another service, of this container's own stack if
	// Stack is empty.
	Service string

	// Stack is the name of another stack. Without Service, the containers of all
	// its services are discovered.
	Stack string

	// Path is where the service or stack is in the metadata, instead of Service
	// and Stack: "self/stack", say, for all services of this container's own
	// stack. Empty means "self/service" if those are, too.
	Path string

	// Basename is the name of all nodes, before the @. Empty means that they have
	// none.
	Basename string

	// Port is that of all nodes. Zero means that of this node, and 4370 if the
	// transport doesn't know it.
	Port int

	// States are those of containers that count, in lower case; "" stands for a
	// server that tells none, as the oldest do. Nil means "running", "starting" and
	// ""; an empty list is refused.
	States []string

	// Health are the health states of containers that count, in lower case; ""
	// stands for one that isn't checked. Nil means "healthy" and ""; an empty list
	// is refused.
	Health []string

	// Interval is how often a server is asked that doesn't hold requests, give or
	// take a tenth. Zero means 5 s; negative is refused.
	Interval time.Duration

	// Client makes the requests. Its Timeout isn't used, as each request has one
	// of its own, and it follows a redirect only if its CheckRedirect is set. Its
	// transport is the caller's: Run leaves its idle connections open, and dials
	// that have outlasted their request under way, so that it needs a dial timeout,
	// of 5 s, say. Nil means one that uses no proxy, makes a new connection for each
	// request, and ends with Run.
	Client *http.Client
}

// Equal implements the optional method of [cluster.Strategy]: a Client is the same
// only if it is in the same place.
func (s Strategy) Equal(other cluster.Strategy) bool {
	o, ok := other.(Strategy)
	if !ok || s.Client != o.Client {
		return false
	}
	s.Client, o.Client = nil, nil
	return reflect.DeepEqual(s, o)
}

// Run implements [cluster.Strategy]: an answer at once and at every change, until
// ctx is done. Its error is that of Validate.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	if err := s.Validate(); err != nil {
		return err
	}
	base, err := s.base()
	if err != nil {
		return err
	}
	client, closeIdle := s.client()
	defer closeIdle()
	p := poller{
		strategy: s.withDefaults(r.Self()),
		client:   client,
		version:  base.JoinPath("version"),
		content:  base.JoinPath(s.path()),
		roster:   r,
	}
	p.run(ctx)
	return nil
}

// withDefaults returns a copy for a node with the zero fields filled of which the
// poller makes use.
func (s Strategy) withDefaults(self cluster.Node) Strategy {
	if s.Port == 0 {
		s.Port = self.Port()
	}
	if s.Port == 0 {
		s.Port = DefaultPort
	}
	if s.States == nil {
		s.States = []string{"running", "starting", ""}
	}
	if s.Health == nil {
		s.Health = []string{"healthy", ""}
	}
	if s.Interval == 0 {
		s.Interval = defaultInterval
	}
	return s
}

// path says where the service is. Of services of one name in several stacks, the
// server's own list holds any first, so that it isn't used.
func (s Strategy) path() string {
	switch {
	case s.Stack != "" && s.Service != "":
		return "stacks/" + s.Stack + "/services/" + s.Service
	case s.Stack != "":
		return "stacks/" + s.Stack
	case s.Service != "":
		return "self/stack/services/" + s.Service
	case s.Path != "":
		return s.Path
	default:
		return DefaultPath
	}
}

// nodes are those of the containers that count, and those to keep. Its error
// names the containers whose address isn't one.
func (s Strategy) nodes(containers []container) (nodes, keep []cluster.Node, err error) {
	var errs []error
	for _, c := range containers {
		addr := c.address()
		if addr == "" || c.gone() && !slices.Contains(s.States, c.State) {
			continue
		}
		n, err := s.node(addr)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("container %q: %w", c.Name, err))
		case slices.Contains(s.States, c.State) && slices.Contains(s.Health, c.Health):
			nodes = append(nodes, n)
		default:
			keep = append(keep, n)
		}
	}
	return nodes, keep, errors.Join(errs...)
}
