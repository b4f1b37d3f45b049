package dns

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster/transport"
)

// What holds without resolv.conf, and bounds of what that says: see
// resolv.conf(5).
const (
	resolvConf      = "/etc/resolv.conf"
	serverPort      = 53
	defaultTimeout  = 5 * time.Second
	defaultAttempts = 2
	maxTimeout      = 30 * time.Second
	maxAttempts     = 5
)

// A config says whom to ask, and how.
type config struct {
	servers  []string // "host:port"
	search   []string // without a dot at the end
	ndots    int
	timeout  time.Duration
	attempts int
	rotate   bool // begin with another server each time
}

// config reads resolv.conf, unless the strategy has servers of its own.
func (s Strategy) config() (c config, err error) {
	if s.Servers != nil {
		c = config{timeout: defaultTimeout, attempts: defaultAttempts}
		c.servers, err = serverAddrs(s.Servers)
	} else {
		path := s.ResolvConf
		if path == "" {
			path = resolvConf
		}
		c, err = readResolvConf(path)
	}
	if s.Timeout > 0 {
		c.timeout = s.Timeout
	}
	if s.Attempts > 0 {
		c.attempts = s.Attempts
	}
	return c, err
}

// serverAddrs gives each server a port.
func serverAddrs(servers []string) ([]string, error) {
	if len(servers) == 0 {
		return nil, errors.New(`dns: Servers is empty; want at least one, such as "10.0.0.53", or nil for those of resolv.conf`)
	}
	var errs []error
	addrs := make([]string, len(servers))
	for i, server := range servers {
		n, err := transport.ParseNodeWithPort(server, serverPort)
		if err == nil && n.Name() != "" {
			err = errors.New("it has a name before an @")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf(`dns: Servers[%d] is %q: %w; want a server, such as "10.0.0.53" or "127.0.0.1:8600"`, i, server, err))
		}
		addrs[i] = n.Addr()
	}
	return addrs, errors.Join(errs...)
}

func readResolvConf(path string) (config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return config{}, fmt.Errorf("dns: the servers are not known; set Servers: %w", err)
	}
	c, err := parseResolvConf(data)
	if err == nil && len(c.servers) == 0 {
		err = errors.New("it names no server; set Servers")
	}
	if err != nil {
		return config{}, fmt.Errorf("dns: %s: %w", path, err)
	}
	return c, nil
}

func parseResolvConf(data []byte) (config, error) {
	parsed, err := miekg.ClientConfigFromReader(bytes.NewReader(data))
	if err != nil {
		return config{}, err
	}
	c := config{
		ndots:    parsed.Ndots,
		timeout:  min(time.Duration(parsed.Timeout)*time.Second, maxTimeout),
		attempts: min(parsed.Attempts, maxAttempts),
	}
	for _, server := range parsed.Servers {
		c.servers = append(c.servers, net.JoinHostPort(server, parsed.Port))
	}
	for _, domain := range parsed.Search {
		if domain = strings.TrimSuffix(domain, "."); domain != "" { // the root changes no name
			c.search = append(c.search, domain)
		}
	}
	for line := range strings.Lines(string(data)) { // the parser knows this option, and leaves it out
		if f := strings.Fields(line); len(f) > 0 && f[0] == "options" && slices.Contains(f, "rotate") {
			c.rotate = true
		}
	}
	return c, nil
}

// names are the complete names that a query may stand for, in the order in
// which they are tried.
func (c config) names(query string) []string {
	if strings.HasSuffix(query, ".") {
		return []string{query}
	}
	var names []string
	for _, domain := range c.search {
		name := query + "." + domain + "."
		if _, ok := miekg.IsDomainName(name); ok {
			names = append(names, name)
		}
	}
	if strings.Count(query, ".") >= c.ndots {
		return append([]string{query + "."}, names...)
	}
	return append(names, query+".")
}
