package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
)

const patience = 20 * time.Second

// A testCluster is several nodes in this process.
type testCluster struct {
	settings
	changed chan struct{} // holds a token when a node has said something
}

func newTestCluster(t *testing.T) *testCluster {
	t.Helper()
	dir := t.TempDir()
	s := settings{dir: dir, registry: filepath.Join(dir, "registry"), secrets: []string{mesh.NewSecret()}}
	return &testCluster{s, make(chan struct{}, 1)}
}

// open starts a node in a folder of its own.
func (c *testCluster) open(t *testing.T, name string, expect int) *node {
	t.Helper()
	s := c.settings
	s.name, s.expect, s.dir = name, expect, t.TempDir()
	return c.openIn(t, s)
}

func (c *testCluster) openIn(t *testing.T, s settings) *node {
	t.Helper()
	n, err := open(t.Context(), s, func(string, ...any) {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.close() })
	return n
}

// await waits until something holds, and looks whenever a node says something.
func (c *testCluster) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	for !ok() {
		select {
		case <-c.changed:
		case <-late:
			t.Fatalf("this doesn't happen: %s", what)
		}
	}
}

// awaitVoters waits until nodes agree on a leader among them, and on the voters.
func (c *testCluster) awaitVoters(t *testing.T, nodes []*node, voters string) (leader int) {
	t.Helper()
	c.await(t, "all know one leader and the voters "+voters, func() bool {
		leader = slices.IndexFunc(nodes, func(n *node) bool { return n.mesh.Self().Name() == nodes[0].leader() })
		return leader >= 0 && !slices.ContainsFunc(nodes, func(n *node) bool {
			got, err := n.voters()
			return err != nil || strings.Join(got, " ") != voters || n.leader() != nodes[0].leader()
		})
	})
	return leader
}

func (c *testCluster) set(t *testing.T, by *node, key string, nodes []*node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := by.set(ctx, Entry{key, "yes"}); err != nil {
		t.Fatal(err)
	}
	c.awaitKey(t, key, nodes)
}

func (c *testCluster) awaitKey(t *testing.T, key string, nodes []*node) {
	t.Helper()
	c.await(t, "all have the key "+key, func() bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { _, ok := n.store.get(key); return !ok })
	})
}

// The mesh of the leader ends under it, so that its streams are cut; its voters
// stay, another leads, one that is found joins, and what it had comes back with it.
func TestTheLeaderDies(t *testing.T) {
	c := newTestCluster(t)
	var nodes []*node
	dirs := map[string]settings{}
	for _, name := range []string{"a", "b", "c"} {
		s := c.settings
		s.name, s.expect, s.dir = name, 3, t.TempDir()
		dirs[name] = s
		nodes = append(nodes, c.openIn(t, s))
	}
	i := c.awaitVoters(t, nodes, "a b c")
	for _, n := range nodes { // through the leader, and through others
		c.set(t, n, "by-"+n.mesh.Self().Name(), nodes)
	}

	dead := nodes[i]
	name := dead.mesh.Self().Name()
	if err := dead.mesh.Close(); err != nil {
		t.Fatal(err)
	}
	nodes = slices.Delete(nodes, i, i+1)
	c.awaitVoters(t, nodes, "a b c") // it is lost, and still a voter
	c.set(t, nodes[0], "after", nodes)
	if err := nodes[0].remove(nodes[1].mesh.Self().Name()); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("removing a node that runs: %v", err)
	}

	nodes = append(nodes, c.open(t, "d", 0))
	c.awaitVoters(t, nodes, "a b c d")
	c.awaitKey(t, "after", nodes)

	if err := dead.close(); err != nil { // frees its folder
		t.Fatal(err)
	}
	back := c.openIn(t, dirs[name])
	nodes = append(nodes, back)
	c.awaitVoters(t, nodes, "a b c d")
	for _, key := range []string{"by-a", "by-b", "by-c", "after"} {
		c.awaitKey(t, key, nodes)
	}
}

// A person says that a node is gone for good.
func TestRemove(t *testing.T) {
	c := newTestCluster(t)
	nodes := []*node{c.open(t, "a", 3), c.open(t, "b", 3), c.open(t, "c", 3)}
	i := c.awaitVoters(t, nodes, "a b c")
	leader, gone := nodes[i], nodes[(i+1)%3]
	name := gone.mesh.Self().Name()
	if err := leader.remove("nobody"); err == nil || !strings.Contains(err.Error(), "no voter") {
		t.Errorf("removing nobody: %v", err)
	}
	if err := gone.close(); err != nil {
		t.Fatal(err)
	}
	for range leader.mesh.Events(t.Context()) { // it has said that it leaves
		if len(leader.peers()) == 1 {
			break
		}
	}
	if err := leader.remove(name); err != nil {
		t.Fatal(err)
	}
	nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n == gone })
	c.awaitVoters(t, nodes, strings.ReplaceAll(strings.Replace("a b c", name, "", 1), "  ", " "))
}

func TestASetWithoutALeaderSaysSo(t *testing.T) {
	c := newTestCluster(t)
	n := c.open(t, "a", 2) // the other never comes
	ctx, cancel := context.WithTimeout(t.Context(), 2*setAgain)
	defer cancel()
	err := n.set(ctx, Entry{"k", "v"})
	if want := "no leader took k = v: there is no leader"; fmt.Sprint(err) != want {
		t.Errorf("%v; want %s", err, want)
	}
}

func TestCommands(t *testing.T) {
	c := newTestCluster(t)
	s := c.settings
	s.name, s.expect, s.dir = "a", 1, filepath.Join(s.dir, "new", "folder")
	in := strings.NewReader("set k v\n\nget k\nget x\nstatus\nremove a\njump\nset k\n")
	var out strings.Builder
	if err := serve(t.Context(), s, in, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"leader: a\n", "voters: a\n", "k = v\nk = v\n", "error: x isn't set\n", "is Leader in term",
		"error: a is running: end it first\n", `error: "jump": want set KEY VALUE`, `error: "set k": want set KEY VALUE`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
}
