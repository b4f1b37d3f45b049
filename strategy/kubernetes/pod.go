package kubernetes

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// An environment is where a pod learns of itself.
type environment struct {
	getenv   func(string) string
	readFile func(string) ([]byte, error)
	hostname func() (string, error)
}

func ofProcess() environment { return environment{os.Getenv, os.ReadFile, os.Hostname} }

// A pod is this one, as far as it knows itself.
type pod struct {
	namespace, name string // name is "" if it doesn't know its namespace
	guessed         bool   // name is that of the host, which need not be the pod's
	addr            netip.Addr
}

// is reports whether a member of a namespace is this pod. Names decide if both are
// known, since pods on the network of one host have its address in common; but not
// against addresses, since another Kubernetes cluster may have a pod of the same
// name. The roster, which knows this node's address, looks after the rest.
func (p pod) is(namespace string, m member) bool {
	same, known := p.addr == m.v4, p.addr.Is4() && m.v4.IsValid()
	if p.addr.Is6() {
		same, known = p.addr == m.v6, m.v6.IsValid()
	}
	named := p.name != "" && m.pod == p.name && namespace == p.namespace && (same || !known)
	if p.name != "" && m.pod != "" && !p.guessed {
		return named
	}
	return named || same && known
}

// self is this pod. The name of the host is the pod's own only in a pod, which has
// a namespace.
func (s Strategy) self(env environment) pod {
	var p pod
	if addr, err := netip.ParseAddr(env.getenv(EnvPodIP)); err == nil {
		p.addr = addr.Unmap()
	}
	p.namespace, _ = s.ownNamespace(env)
	if p.namespace == "" {
		return p
	}
	p.name = env.getenv(EnvPodName)
	if p.name == "" {
		p.guessed = true
		p.name, _ = env.hostname() // what isn't known can't be recognised
	}
	return p
}

// ownNamespace is that of this pod. Its error says why it isn't known.
func (s Strategy) ownNamespace(env environment) (string, error) {
	file := filepath.Join(s.serviceAccountPath(), "namespace")
	b, err := env.readFile(file)
	if namespace := strings.TrimSpace(string(b)); namespace != "" {
		return namespace, nil
	}
	if namespace := env.getenv(EnvNamespace); namespace != "" {
		return namespace, nil
	}
	if err == nil {
		err = fmt.Errorf("%s is empty", file)
	}
	return "", fmt.Errorf("%w, and %s is not set", err, EnvNamespace)
}

func (s Strategy) serviceAccountPath() string {
	if s.ServiceAccountPath != "" {
		return s.ServiceAccountPath
	}
	return DefaultServiceAccountPath
}
