//go:build linux

package kubernetes_test

import (
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// noticed is after how long the nodes have noticed for sure that the API server is
// mute, which the strategy finds out in 15 s.
const noticed = 20 * time.Second

// testStopped has the API server be gone for a while, in which nobody is cut, and
// changes that are made before the nodes reach it again arrive.
func testStopped(s *space) {
	s.outlive(func(members []*member) {
		s.plane.StopAPI()
		pause(s.Context(), outage())
		failing(members, s.plane.Addr.String())
		s.net.Isolate(s.server)
		s.plane.StartAPI()
	})
}

// testCutOff has no packet come from the API server for a while, so that nothing says
// that the watches are quiet for that, and not since nothing changes. It is noticed
// nevertheless.
func testCutOff(s *space) {
	s.outlive(func(members []*member) {
		s.net.Isolate(s.server)
		pause(s.Context(), max(outage(), noticed))
		failing(members, "connection lost")
	})
}

// outlive forms a mesh, has an outage begin after which the API server serves but is
// cut off, makes changes, and ends the outage.
func (s *space) outlive(outage func([]*member)) {
	s.Helper()
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(5, viaAPI())
	gone, rest := members[0], members[1:]
	late := s.silent(members, "late", s.free[5])

	outage(members)
	s.delete(gone.name, 0)
	s.setReady(late.name, true)
	s.awaitSlice(late.name, gone.name)
	uncut(s.T, members)

	s.net.Heal(s.net.Hosts...)
	healed := time.Now()
	linked(rest, late.Node)
	s.Logf("what has changed in an outage arrives %s after its end", time.Since(healed).Round(time.Millisecond))
	parted(rest, gone.Node)
	recovered(rest)
	s.settled(rest, late, gone.Node)
}

// testCompaction has etcd forget what a watch would go on from.
func testCompaction(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(3, viaAPI())
	late := s.silent(members, "late", s.free[5])
	ctx := s.Context()
	before, err := s.api.DiscoveryV1().EndpointSlices(s.name).List(ctx, metav1.ListOptions{})
	s.must(err)

	s.plane.StopAPI()
	s.net.Isolate(s.server)
	s.plane.StartAPI()
	s.setReady(late.name, true)
	s.awaitSlice(late.name, "")
	after, err := s.api.CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{})
	s.must(err)
	s.plane.Compact(ctx, after.ResourceVersion)
	s.plane.StopAPI() // and so its own memory of what was before
	s.plane.StartAPI()
	if err := s.expired(before.ResourceVersion); !apierrors.IsResourceExpired(err) {
		s.Fatalf("a watch from before the compaction ends with %v, want that this is too old", err)
	}
	s.net.Heal(s.net.Hosts...)
	linked(members, late.Node)
	recovered(members)
	s.settled(members, late)
}

// expired returns the error of a watch from a resource version.
func (s *space) expired(version string) error {
	s.Helper()
	w, err := s.api.DiscoveryV1().EndpointSlices(s.name).Watch(s.Context(), metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return apierrors.FromObject(e.Object)
		}
	}
	return nil
}

// testTokenRevoked has the tokens of the nodes be good no more, and new ones be
// there after a while.
func testTokenRevoked(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	// The tokens end with a pod that isn't one of the nodes'.
	key := s.create("key", s.free[9])
	var members []*member
	for i, name := range names(3) {
		s.create(name, s.free[i])
		members = append(members, s.joinWith(s.token(account, key), name, s.free[i], viaAPI()))
		s.setReady(name, true)
	}
	whole(s.T, members)
	late := s.silent(members, "late", s.free[5])

	s.delete(key.Name, 0)
	s.restartAPI()
	failing(members, "Unauthorized")
	s.setReady(late.name, true)
	pause(s.Context(), 2*grace)
	uncut(s.T, members)

	for _, m := range members {
		s.write(filepath.Join(m.mount, corev1.ServiceAccountTokenKey), s.token(account, nil))
	}
	recovered(members)
	linked(members, late.Node)
	s.settled(members, late)
}

// testRoleTaken has the nodes' right to ask be taken away, and given back.
func testRoleTaken(s *space) {
	s.grant(account, rule(slicesResource, "list", "watch"))
	members := s.form(3, viaAPI())
	late := s.silent(members, "late", s.free[5])

	s.revoke(account)
	s.restartAPI()
	failing(members, "lacks the rule")
	s.setReady(late.name, true)
	pause(s.Context(), 2*grace)
	uncut(s.T, members)

	s.grant(account, rule(slicesResource, "list", "watch"))
	recovered(members)
	linked(members, late.Node)
	s.settled(members, late)
}

// restartAPI ends all watches: who is asked is whether they may begin, not whether
// they may go on.
func (s *space) restartAPI() {
	s.Helper()
	s.plane.StopAPI()
	s.plane.StartAPI()
}
