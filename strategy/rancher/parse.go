package rancher

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

// A container is what matters of one in the metadata. What is null there is
// empty.
type container struct {
	Name      string   `json:"name"`
	PrimaryIP string   `json:"primary_ip"`
	IPs       []string `json:"ips"`
	State     string   `json:"state"`
	Health    string   `json:"health_state"`
}

// UnmarshalJSON refuses what is no container: the server has null for what isn't
// known, but leaves nothing out.
func (c *container) UnmarshalJSON(body []byte) error {
	var has struct {
		PrimaryIP json.RawMessage `json:"primary_ip"`
		IPs       json.RawMessage `json:"ips"`
	}
	type plain container // which has no such method
	if err := errors.Join(json.Unmarshal(body, (*plain)(c)), json.Unmarshal(body, &has)); err != nil {
		return err
	}
	if c.Name == "" || has.PrimaryIP == nil && has.IPs == nil {
		return fmt.Errorf("one has no name, or neither primary_ip nor ips: %s", excerpt(body))
	}
	return nil
}

// address is empty if there is none yet.
func (c container) address() string {
	if c.PrimaryIP != "" || len(c.IPs) == 0 {
		return c.PrimaryIP
	}
	return c.IPs[0]
}

// gone reports whether the container doesn't run and won't by itself. Of a state
// that isn't known that can't be said.
func (c container) gone() bool {
	switch c.State {
	case "stopped", "updating-stopped", "removing", "removed", "updating-removed", "purging", "purged", "error":
		return true
	default:
		return false
	}
}

// parse returns the containers of a service or a stack. The server has null for
// an empty list, but leaves none out.
func parse(body []byte) ([]container, error) {
	var is struct {
		Containers json.RawMessage // of a service
		Services   json.RawMessage // of a stack
	}
	if err := json.Unmarshal(body, &is); err != nil {
		return nil, err
	}
	if is.Containers == nil && is.Services != nil {
		return parseServices(is.Services)
	}
	return parseContainers(is.Containers)
}

func parseServices(list json.RawMessage) (all []container, err error) {
	var services []struct{ Containers json.RawMessage }
	if err := json.Unmarshal(list, &services); err != nil {
		return nil, fmt.Errorf("the stack's services: %w", err)
	}
	for i, s := range services {
		containers, err := parseContainers(s.Containers)
		if err != nil {
			return nil, fmt.Errorf("the stack's service %d: %w", i, err)
		}
		all = append(all, containers...)
	}
	return all, nil
}

func parseContainers(list json.RawMessage) (containers []container, err error) {
	if list == nil {
		return nil, errors.New("it has no containers, and is neither a service nor a stack")
	}
	if err := json.Unmarshal(list, &containers); err != nil {
		return nil, fmt.Errorf("the containers: %w", err)
	}
	return containers, nil
}

// node is that of a container with an address. A host name wouldn't be one.
func (s Strategy) node(addr string) (cluster.Node, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return "", fmt.Errorf("its address: %w", err)
	}
	n := net.JoinHostPort(ip.String(), strconv.Itoa(s.Port))
	if s.Basename != "" {
		n = s.Basename + "@" + n
	}
	return transport.ParseNode(n)
}
