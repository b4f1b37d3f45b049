//go:build linux

package kubernetes_test

import (
	"testing"
	"time"

	"github.com/libcluster-go/cluster/strategy/kubernetes"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/node"
)

// testHeadless has CoreDNS serve the pods of a headless service, nodes find each
// other by that without the API, and reach those that the API names.
func testHeadless(s *space) {
	nameserver := s.plane.StartDNS()
	for _, tt := range []struct {
		name string
		cfg  node.Config
	}{
		{"A records", node.Config{DNS: &node.DNS{Port: port}}},
		{"SRV records", node.Config{DNS: &node.DNS{SRV: true}}},
		{"API, names of addresses", node.Config{Kubernetes: &kubernetes.Strategy{Service: service, Mode: kubernetes.DNS}}},
		{"API, names of hosts", node.Config{Kubernetes: &kubernetes.Strategy{Service: service, Mode: kubernetes.Hostname}}},
	} {
		s.Run(tt.name, func(t *testing.T) {
			s := newSpace(t, s.rig)
			s.grant(account, rule(slicesResource, "list", "watch"))
			cfg := tt.cfg
			cfg.Nameserver = nameserver
			if cfg.DNS != nil {
				cfg.DNS.Service, cfg.DNS.Namespace, cfg.DNS.Interval = service, s.name, time.Second
			}
			members := s.form(3, cfg)
			late := s.silent(members, "late", s.free[5])
			s.setReady(late.name, true)
			linked(members, late.Node)
			s.settled(members, late)
		})
	}
}
