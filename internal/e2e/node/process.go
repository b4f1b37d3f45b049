//go:build linux

package node

import (
	"testing"

	"github.com/libcluster-go/cluster"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/internal/e2e/process"
)

// A Process is a node on one of the hosts.
type Process struct {
	*process.Process[Report]
	Node cluster.Node
}

// Start starts a node on a host, as [process.Start] does.
func Start(tb testing.TB, h *hosts.Host, cfg Config) *Process {
	tb.Helper()
	return &Process{process.Start[Report](tb, h, cfg.Bind, cfg), cluster.Node(cfg.Bind)}
}
