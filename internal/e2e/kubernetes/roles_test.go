//go:build linux

package kubernetes_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	client "k8s.io/client-go/kubernetes"
)

const slicesResource = "discovery.k8s.io/endpointslices"

// source is one of the strategy's.
type source struct {
	name     string
	resource string // that the least role names
	strategy kubernetes.Strategy
}

// sources are all of the strategy's, for the pods of a space.
func sources() []source {
	return []source{
		{"endpoint slices", slicesResource, kubernetes.Strategy{Service: service}},
		{"pods", "/pods", kubernetes.Strategy{Source: kubernetes.Pods, Selector: "app=" + service}},
		{"endpoints", "/endpoints", kubernetes.Strategy{Source: kubernetes.Endpoints, Service: service}},
	}
}

// testLeastRoles has a role with one rule be enough for each source, and without it,
// or with half of it, the error name what is missing.
func testLeastRoles(s *space) {
	for i, name := range names(2) {
		s.create(name, s.free[i])
		s.setReady(name, true)
	}
	want := []cluster.Node{cluster.Node(bind(s.free[0])), cluster.Node(bind(s.free[1]))}
	for _, src := range sources() {
		group, resource, _ := strings.Cut(src.resource, "/")
		lacks := func(verbs string) []string {
			return []string{"forbidden", s.name, fmt.Sprintf("{apiGroups: [%q], resources: [%q], verbs: [%s]}", group, resource, verbs)}
		}
		for name, tt := range map[string]struct {
			verbs []string
			says  []string // nil: it is enough
		}{
			"list and watch": {verbs: []string{"list", "watch"}},
			"nothing":        {says: lacks(`"list", "watch"`)},
			"list":           {verbs: []string{"list"}, says: lacks(`"watch"`)},
			"watch":          {verbs: []string{"watch"}, says: lacks(`"list", "watch"`)},
		} {
			s.Run(src.name+"/"+name, func(t *testing.T) {
				account := strings.ReplaceAll(src.name+" "+name, " ", "-")
				s.addAccount(account)
				if tt.verbs != nil {
					s.grant(account, rule(src.resource, tt.verbs...))
				}
				tell := s.run(t, src.strategy, s.token(account, nil))
				if tt.says == nil {
					tell.await("both pods", func(c cluster.Change) bool { return c.Kind == cluster.Replaced && slices.Equal(c.Nodes, want) })
					return
				}
				got := tell.await("a failure", func(c cluster.Change) bool { return c.Kind == cluster.Failed })
				for _, say := range tt.says {
					if !strings.Contains(got.Err.Error(), say) {
						t.Errorf("the error is %q, want %q in that", got.Err, say)
					}
				}
			})
		}
	}
}

// A telling is a strategy that runs in the test itself, and what it tells.
type telling struct {
	t    *testing.T
	told chan cluster.Change
}

// run runs a strategy until the test ends, as one who has a token.
func (s *space) run(t *testing.T, k kubernetes.Strategy, token string) *telling {
	t.Helper()
	clientset, err := client.NewForConfig(s.plane.TokenConfig(token))
	s.must(err)
	k.Client, k.Namespaces = kubernetes.FromClientset(clientset), []string{s.name}
	ctx, cancel := context.WithCancel(t.Context())
	tell := &telling{t, make(chan cluster.Change, 10000)}
	r := cluster.NewRoster("", nil, func(c cluster.Change) { tell.told <- c })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := k.Run(ctx, r); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return tell
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
			tell.t.Fatalf("for %s, %s is not told; the last is %s of %q and %v", soon, what, last.Kind, last.Nodes, last.Err)
		}
	}
}
