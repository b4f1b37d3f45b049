//go:build linux

package kubernetes_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/node"
)

// viaAPI has a node discover the others by the API, by the service's endpoint slices.
func viaAPI() node.Config {
	return node.Config{Kubernetes: &kubernetes.Strategy{Service: service}}
}

// testMesh has 5 nodes form a full mesh by each source, with no more than its rule.
func testMesh(s *space) {
	for _, src := range sources() {
		s.Run(src.name, func(t *testing.T) {
			s := newSpace(t, s.rig)
			s.grant(account, rule(src.resource, "list", "watch"))
			uncut(t, s.form(5, node.Config{Kubernetes: &src.strategy}))
		})
	}
}

// testBecomingReady has one more pod become ready, again and again, and 5 nodes be
// linked with it within a second of the patch of its status, and half of the times
// within 300 ms. If a quarter of that is gone before the API has told the test itself
// of the slice, which has nothing to do with the nodes, the machine is busy with
// something else, and it is measured once more.
func testBecomingReady(s *space) {
	const (
		rounds          = 20
		half, all, part = 300 * time.Millisecond, time.Second, 4
	)
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(5, viaAPI())
	measure := func(series string) (good, busy bool) {
		var took, told []time.Duration
		for round := range rounds {
			linkedAfter, toldAfter := s.welcome(members, fmt.Sprintf("%s-%d", series, round))
			took, told = append(took, linkedAfter), append(told, toldAfter)
		}
		slices.Sort(took)
		slices.Sort(told)
		s.Logf("5 nodes are linked with one more after %s (median of %d), %s at most; its slice is told after %s, %s at most",
			took[rounds/2].Round(time.Millisecond), rounds, took[rounds-1].Round(time.Millisecond),
			told[rounds/2].Round(time.Millisecond), told[rounds-1].Round(time.Millisecond))
		good = took[rounds/2] < half && took[rounds-1] < all
		busy = told[rounds/2] > half/part || told[rounds-1] > all/part
		return good, busy
	}
	good, busy := measure("late")
	if !good && busy {
		good, _ = measure("again")
	}
	if !good {
		s.Errorf("5 nodes are linked with one more later than within %s (median) and always within %s", half, all)
	}
	uncut(s.T, members, cluster.Node(bind(s.free[5])))
}

// welcome has one more pod become ready, and returns when its slice is told, and when
// the members are linked with it. Its node discovers nobody itself, so that they are
// who has found it; those of whom the mesh expects that the other dials first wait for
// up to 250 ms. After that, it goes as pods go.
func (s *space) welcome(members []*member, name string) (linkedAfter, toldAfter time.Duration) {
	s.Helper()
	late := s.silent(members, name, s.free[5])
	began := time.Now()
	s.setReady(name, true)
	s.awaitSlice(name, "")
	toldAfter = time.Since(began)
	linked(members, late.Node)
	linkedAfter = time.Since(began)
	s.delete(name, 30)
	late.Stop()
	s.delete(name, 0)
	parted(members, late.Node)
	return linkedAfter, toldAfter
}

// testDeleted has a pod that is deleted be disconnected when its process has ended,
// however long it is terminating, or else when the grace has passed.
func testDeleted(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(5, viaAPI())
	ends, stays, rest := members[0], members[1], members[2:]

	s.delete(ends.name, 300)
	pause(s.Context(), 2*grace)
	uncut(s.T, members)
	ends.Stop()
	parted(members[1:], ends.Node)
	s.delete(ends.name, 0)
	uncut(s.T, members[1:], ends.Node)

	began := time.Now()
	s.delete(stays.name, 0)
	parted(rest, stays.Node)
	took := time.Since(began)
	s.Logf("a node whose pod is gone is cut after %s", took.Round(time.Millisecond))
	if took < grace || took > grace+5*time.Second {
		s.Errorf("a node whose pod is gone is cut after %s, want that after %s", took, grace)
	}
	for _, m := range rest {
		if cuts := m.cuts(); cuts[len(cuts)-1].Cause != cluster.ErrRemoved.Error() {
			s.Errorf("%s was cut from %s: %s; want %s", m.Node, stays.Node, cuts[len(cuts)-1].Cause, cluster.ErrRemoved)
		}
	}
	uncut(s.T, rest, ends.Node, stays.Node)
}

// testFailingProbes has the readiness probes of half the pods fail for much longer
// than the grace, and nobody be cut.
func testFailingProbes(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(6, viaAPI())
	for _, m := range members[:3] {
		s.setReady(m.name, false)
	}
	s.awaitUnready(members[0].name, members[1].name, members[2].name)
	pause(s.Context(), outage())
	uncut(s.T, members)
	for _, m := range members[:3] {
		s.setReady(m.name, true)
	}
	pause(s.Context(), grace)
	whole(s.T, members)
	uncut(s.T, members)
}

// testRollingRestart has all pods be replaced one by one, by pods with new names and
// addresses, and no link between two that live ever be cut.
func testRollingRestart(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(5, viaAPI())
	var stopped []cluster.Node
	for i := range 5 {
		next := s.join(members[0].name+"-next", s.free[5+i], viaAPI())
		s.setReady(next.name, true)
		members = append(members, next)
		whole(s.T, members)
		uncut(s.T, members, stopped...)

		old := members[0]
		members = members[1:]
		s.delete(old.name, 30)
		old.Stop()
		s.delete(old.name, 0)
		stopped = append(stopped, old.Node)
	}
	whole(s.T, members)
	pause(s.Context(), 2*grace)
	whole(s.T, members)
	uncut(s.T, members, stopped...)
}
