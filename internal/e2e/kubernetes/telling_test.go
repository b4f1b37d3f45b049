//go:build linux

package kubernetes_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A telling is a strategy that runs in the test itself, and what it tells.
type telling struct {
	t    *testing.T
	told chan cluster.Change
}

// ask runs a strategy until the test ends, for a node.
func ask(t *testing.T, k kubernetes.Strategy, self cluster.Node) *telling {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tell := &telling{t, make(chan cluster.Change, 10000)}
	r := cluster.NewRoster(self, nil, func(c cluster.Change) { tell.told <- c })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := k.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return tell
}

// fromConfig is a strategy's Client, with a clientset of client-go.
func fromConfig(t *testing.T, cfg *rest.Config) *kubernetes.Client {
	t.Helper()
	clientset, err := client.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.FromClientset(clientset)
}

// await returns the first change that is as it should be.
func (tell *telling) await(what string, met func(cluster.Change) bool) cluster.Change {
	tell.t.Helper()
	late := time.NewTimer(soon)
	defer late.Stop()
	var last cluster.Change
	for {
		select {
		case last = <-tell.told:
			if met(last) {
				return last
			}
		case <-late.C:
			tell.t.Fatalf("for %s, %s is not told; the last is %s of %q, with %q to keep, and %v", soon, what, last.Kind, last.Nodes, last.Keep, last.Err)
		}
	}
}

// awaitAnswer waits for a whole answer of these nodes, and of those to keep, which are
// both in order.
func (tell *telling) awaitAnswer(nodes, keep []cluster.Node) {
	tell.t.Helper()
	tell.await(fmt.Sprintf("an answer of %q, with %q to keep", nodes, keep), func(c cluster.Change) bool {
		return c.Kind == cluster.Replaced && slices.Equal(slices.Sorted(slices.Values(c.Nodes)), nodes) &&
			slices.Equal(slices.Sorted(slices.Values(c.Keep)), keep)
	})
}
