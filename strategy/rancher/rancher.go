package rancher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
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
	// BaseURL is that of the metadata with its version, of which 2015-12-19 is the
	// oldest that will do. Empty means http://rancher-metadata/latest.
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

	// States are those of containers that count; "" stands for a server that
	// tells none, as the oldest do. Nil means "running", "starting" and "".
	States []string

	// Health are the health states of containers that count; "" stands for one
	// that isn't checked. Nil means "healthy" and "".
	Health []string

	// Interval is how often a server is asked that doesn't hold requests, give or
	// take a tenth. Zero means 5 s; negative is refused.
	Interval time.Duration

	// Client makes the requests. Its Timeout isn't used, as each request has one
	// of its own, and it follows a redirect only if its CheckRedirect is set. Nil
	// means one that uses no proxy and makes a new connection for each request.
	Client *http.Client
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right. The server isn't
// asked.
func (s Strategy) Validate() error {
	_, urlErr := s.base()
	errs := []error{urlErr, checkName("Service", s.Service), checkName("Stack", s.Stack)}
	if s.Path != "" && (s.Service != "" || s.Stack != "") {
		errs = append(errs, fmt.Errorf("rancher: Path is %q, Service %q and Stack %q; want Path alone, or none", s.Path, s.Service, s.Stack))
	}
	if s.Basename != "" {
		if _, err := transport.ParseNodeWithPort(s.Basename+"@localhost", DefaultPort); err != nil {
			errs = append(errs, fmt.Errorf("rancher: Basename is %q: %w", s.Basename, err))
		}
	}
	if s.Port < 0 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("rancher: Port is %d; want 1 to 65535, or 0 for that of this node", s.Port))
	}
	if s.Interval < 0 {
		errs = append(errs, fmt.Errorf("rancher: Interval is %s; want more than zero, or 0 for %s", s.Interval, defaultInterval))
	}
	return errors.Join(errs...)
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

func (s Strategy) base() (*url.URL, error) {
	if s.BaseURL == "" {
		return url.Parse(DefaultBaseURL)
	}
	const want = "want such as " + DefaultBaseURL
	u, err := url.Parse(s.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("rancher: BaseURL: %w; %s", err, want)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("rancher: BaseURL is %q; %s", u.Redacted(), want)
	}
	return u, nil
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

// checkName refuses what can't be one step of a path. The server takes a number
// for an index.
func checkName(field, name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	notInName := func(r rune) bool { return !strings.ContainsRune(letters+"0123456789-_.", r) }
	lower := strings.ToLower(name)
	if name == "" || !strings.ContainsFunc(lower, notInName) && strings.ContainsAny(lower, letters) {
		return nil
	}
	return fmt.Errorf("rancher: %s is %q; want a name of letters, digits, - and _, of which one is a letter", field, name)
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
