//go:build linux

package kubernetes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/e2e/hosts"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/controlplane"
	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/node"
)

// leftAlone is how long a node is watched that nobody may dial: longer than the wait
// for the side that dials first.
const leftAlone = 300 * time.Millisecond

// A member is a pod, and the node that runs in it.
type member struct {
	*node.Process
	name  string
	mount string // of its service account
}

// join makes a pod that isn't ready and starts its node on a host, with a token that
// is good while the pod exists.
func (s *space) join(name string, h *hosts.Host, cfg node.Config) *member {
	s.Helper()
	return s.joinWith(s.token(account, s.create(name, h)), name, h, cfg)
}

// joinWith starts the node of a pod that there is, with a token.
func (s *space) joinWith(token, name string, h *hosts.Host, cfg node.Config) *member {
	s.Helper()
	m := &member{name: name, mount: s.mount(token)}
	cfg.Bind, cfg.Secret, cfg.RemoveGrace = bind(h), secret, grace
	if cfg.Kubernetes != nil {
		k := *cfg.Kubernetes
		k.ServiceAccountPath = m.mount
		cfg.Kubernetes = &k
	}
	m.Process = node.Start(s.T, h, cfg,
		"POD_NAME="+name, "POD_NAMESPACE="+s.name, "POD_IP="+h.IPv4.String(),
		"KUBERNETES_SERVICE_HOST="+s.plane.Addr.Addr().String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", controlplane.Port))
	return m
}

// silent starts a node that waits to be discovered, in a pod that isn't ready, and
// sees that the members leave it alone.
func (s *space) silent(members []*member, name string, h *hosts.Host) *member {
	s.Helper()
	late := s.join(name, h, node.Config{})
	late.await("that it is up", func(r node.Report) bool { return r.State != "" })
	s.awaitUnready(name)
	pause(s.Context(), leftAlone)
	for _, m := range members {
		if r, _ := m.Report(); slices.Contains(r.Linked, late.Node) {
			s.Errorf("%s is linked with %s, whose pod isn't ready", m.Node, late.Node)
		}
	}
	return late
}

// form makes n ready pods whose nodes discover each other, and returns when they
// form a full mesh.
func (s *space) form(n int, cfg node.Config) (members []*member) {
	s.Helper()
	began := time.Now()
	for i, name := range names(n) {
		members = append(members, s.join(name, s.free[i], cfg))
		s.setReady(name, true)
	}
	whole(s.T, members)
	s.Logf("a full mesh of %d nodes %s after the first was started", n, time.Since(began).Round(time.Millisecond))
	return members
}

// await waits until a report is as it should be.
func (m *member) await(what string, met func(node.Report) bool) {
	m.Await(time.Now().Add(soon), what, met)
}

// cuts are those of its links, in order.
func (m *member) cuts() []node.Cut {
	r, _ := m.Report()
	return r.Cuts
}

// others are the nodes but one, in order.
func others(members []*member, but *member) (all []cluster.Node) {
	for _, m := range members {
		if m != but {
			all = append(all, m.Node)
		}
	}
	slices.Sort(all)
	return all
}

// whole waits until each is linked with all others and with no other.
func whole(t *testing.T, members []*member) {
	t.Helper()
	for _, m := range members {
		want := others(members, m)
		m.await(fmt.Sprintf("links with %q", want), func(r node.Report) bool { return slices.Equal(r.Linked, want) })
	}
}

// linked waits until all others are linked with a node. One that is known by a name is
// linked by that: its host is of no interest here.
func linked(members []*member, n cluster.Node) {
	for _, m := range members {
		if m.Node == n {
			continue
		}
		m.await(fmt.Sprintf("a link with %s", n), func(r node.Report) bool { return slices.Contains(r.Linked, n) })
	}
}

// parted waits until none is linked with a node any more.
func parted(members []*member, n cluster.Node) {
	for _, m := range members {
		m.await(fmt.Sprintf("no link with %s", n), func(r node.Report) bool { return !slices.Contains(r.Linked, n) })
	}
}

// uncut fails the test if a link was ever cut, but for those with nodes that were
// to be.
func uncut(t *testing.T, members []*member, but ...cluster.Node) {
	t.Helper()
	for _, m := range members {
		for _, c := range m.cuts() {
			if !slices.Contains(but, c.Node) {
				t.Errorf("%s was cut from %s: %s", m.Node, c.Node, c.Cause)
			}
		}
	}
}

// settled fails the test unless, well after the grace, the members are linked with
// each other and with one that came late, and no link was ever cut, but for those with
// nodes that were to be: who is missing in an answer is cut only after the grace.
func (s *space) settled(members []*member, late *member, but ...cluster.Node) {
	s.Helper()
	pause(s.Context(), 2*grace)
	for _, m := range append(slices.Clip(members), late) {
		linked(members, m.Node)
	}
	uncut(s.T, members, but...)
}

// failing waits until discovery fails for all, with an error that says something.
func failing(members []*member, says string) {
	for _, m := range members {
		m.await(fmt.Sprintf("a failure with %q", says), func(r node.Report) bool {
			return r.State == cluster.StateFailing && slices.ContainsFunc(r.Failures, func(f string) bool { return strings.Contains(f, says) })
		})
	}
}

// recovered waits until discovery answers for all.
func recovered(members []*member) {
	for _, m := range members {
		m.await("an answer", func(r node.Report) bool { return r.State == cluster.StateRunning })
	}
}
