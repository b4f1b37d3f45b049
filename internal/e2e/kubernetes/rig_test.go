//go:build linux

// Package kubernetes_test has strategy/kubernetes ask a real kube-apiserver, and
// real nodes on hosts of their own be the pods that it tells of. .ci/kubernetes
// builds the servers and runs these tests.
package kubernetes_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/controlplane"
	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/node"
)

const (
	port    = 4370
	machine = "machine"
	secret  = "a secret of the tests of Kubernetes"
	// soon is how long what has no other bound may take: after a minute's outage, the
	// strategy asks again only every half minute.
	soon = time.Minute
	// grace is for how long a node has to be missing until it is disconnected.
	grace = 3 * time.Second
	// podHosts are the hosts that pods may be on.
	podHosts = 10
	// nightly of the environment has what is to be survived last for a minute, and
	// not seconds, if it is set.
	nightly = "CLUSTER_NIGHTLY"
)

func TestMain(m *testing.M) {
	node.Main()
	os.Exit(m.Run())
}

// A rig is what the tests share: one takes seconds to start.
type rig struct {
	plane *controlplane.Plane
	net   *hosts.Net
	// server is the host of the control plane, and free those that pods may be on.
	server *hosts.Host
	free   []*hosts.Host
}

// TestKubernetes runs all tests on one control plane, one after the other.
func TestKubernetes(t *testing.T) {
	net := hosts.New(t, 1+podHosts)
	r := &rig{net: net, server: net.Hosts[0], free: net.Hosts[1:]}
	r.plane = controlplane.Start(t, r.server)
	r.addNode(t)
	for _, tt := range []struct {
		name string
		test func(*space)
	}{
		{"least roles", testLeastRoles},
		{"answers", testAnswers},
		{"access", testAccess},
		{"mesh", testMesh},
		{"becoming ready", testBecomingReady},
		{"deleted", testDeleted},
		{"failing probes", testFailingProbes},
		{"rolling restart", testRollingRestart},
		{"API server stopped", testStopped},
		{"API server cut off", testCutOff},
		{"compaction", testCompaction},
		{"token revoked", testTokenRevoked},
		{"role taken away", testRoleTaken},
		{"headless services", testHeadless},
		{"manifests", testManifests},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newSpace(t, r)) })
	}
}

// addNode makes the machine that all pods are said to be on: to the API, a host of
// the tests is no more than a pod's address.
func (r *rig) addNode(t *testing.T) {
	t.Helper()
	machine := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: machine}}
	if _, err := r.plane.Client().CoreV1().Nodes().Create(t.Context(), machine, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// outage is how long what is to be survived lasts.
func outage() time.Duration {
	if os.Getenv(nightly) != "" {
		return time.Minute
	}
	return 12 * time.Second
}

// pause waits for what must not happen.
func pause(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}
