package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// What Start makes a mesh from when a topology has no transport.
const (
	// EnvSecret holds what all nodes share: one secret, or several separated by
	// commas while it is changed, of which the first is shown.
	EnvSecret = "CLUSTER_SECRET"
	// EnvBind is mesh.Config.Bind.
	EnvBind = "CLUSTER_BIND"
	// EnvAdvertise is mesh.Config.Advertise.
	EnvAdvertise = "CLUSTER_ADVERTISE"
)

// makeMesh makes one from the environment if a topology needs it.
func (s *Supervisor) makeMesh(topologies []Topology) error {
	name := ""
	for _, t := range topologies {
		if t.Transport == nil && !t.hasFuncs() {
			name = t.Name
		}
	}
	s.making.Lock()
	defer s.making.Unlock()
	if name == "" || s.opts.transport != nil || s.Mesh() != nil {
		return nil
	}
	if s.ctx.Err() != nil { // nobody would close it
		return ErrStopped
	}
	m, err := meshFromEnvironment(os.Getenv, s.opts.log)
	if err != nil {
		return fmt.Errorf("cluster: topology %q has no transport, and a mesh can't be made from the environment: %w", name, err)
	}
	s.mu.Lock()
	s.mesh = m
	stopped := s.stopped
	s.mu.Unlock()
	if stopped { // nobody else will close it
		return errors.Join(ErrStopped, m.Close())
	}
	return nil
}

// SecretsFromEnvironment are those that [EnvSecret] holds, for a mesh of one's own:
// separated by commas, without the spaces around each. The error says that there
// are none; whether they are good ones, mesh.Listen says.
func SecretsFromEnvironment() ([]string, error) { return secretsFrom(os.Getenv) }

func secretsFrom(getenv func(string) string) (secrets []string, err error) {
	for s := range strings.SplitSeq(getenv(EnvSecret), ",") {
		if s = strings.TrimSpace(s); s != "" {
			secrets = append(secrets, s)
		}
	}
	if len(secrets) == 0 {
		err = fmt.Errorf("%s is not set; set it to one secret of at least 16 bytes on all nodes, such as that of `openssl rand -base64 32`", EnvSecret)
	}
	return secrets, err
}

func meshFromEnvironment(getenv func(string) string, log *slog.Logger) (*mesh.Mesh, error) {
	secrets, err := secretsFrom(getenv)
	if err != nil {
		return nil, fmt.Errorf("%w, or use WithTransport", err)
	}
	m, err := mesh.Listen(mesh.Config{
		Secrets: secrets, Bind: getenv(EnvBind), Advertise: getenv(EnvAdvertise), Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("from %s, %s and %s: %w", EnvSecret, EnvBind, EnvAdvertise, err)
	}
	return m, nil
}
