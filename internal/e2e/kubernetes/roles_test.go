//go:build linux

package kubernetes_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
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
				k := src.strategy
				k.Client, k.Namespaces = fromConfig(t, s.plane.TokenConfig(s.token(account, nil))), []string{s.name}
				tell := ask(t, k, "")
				if tt.says == nil {
					tell.awaitAnswer(want, nil)
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
