package main

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/libcluster-go/cluster"
)

func TestFounders(t *testing.T) {
	const a, b, c, d = cluster.Node("a@10.0.0.9:1"), cluster.Node("b@10.0.0.1:1"), cluster.Node("c@10.0.0.2:1"), cluster.Node("d@10.0.0.3:1")
	type nodes = []cluster.Node
	tests := []struct {
		name   string
		self   cluster.Node
		peers  nodes
		expect int
		found  bool
	}{
		{"one alone", a, nil, 1, true},
		{"all are there, the first by name", a, nodes{b, c}, 3, true},
		{"in another order", a, nodes{c, b}, 3, true},
		{"not the first", b, nodes{c, a}, 3, false},
		{"one is missing", a, nodes{b}, 3, false},
		{"one too many", a, nodes{b, c, d}, 3, false},
		{"who joins", a, nodes{b, c}, 0, false},
		{"nobody is there to join", a, nil, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers := founders(tt.self, tt.peers, tt.expect)
			if found := servers != nil; found != tt.found {
				t.Fatalf("it founds %v; want %t", servers, tt.found)
			}
			if !tt.found {
				return
			}
			if len(servers) != tt.expect {
				t.Errorf("%d servers; want %d", len(servers), tt.expect)
			}
			if want := (raft.Server{ID: "a", Address: "a@10.0.0.9:1"}); servers[0] != want {
				t.Errorf("the first is %v; want %v", servers[0], want)
			}
		})
	}
}

// Of nodes that see the same, one founds.
func TestOneFounds(t *testing.T) {
	all := []cluster.Node{"c@10.0.0.1:1", "a@10.0.0.2:1", "b@10.0.0.3:1"}
	count := 0
	for i, self := range all {
		peers := append(append([]cluster.Node{}, all[:i]...), all[i+1:]...)
		if founders(self, peers, len(all)) != nil {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d nodes found a cluster; want 1", count)
	}
}
