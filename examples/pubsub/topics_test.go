package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const patience = 10 * time.Second

// testMeshes are linked, each with each.
func testMeshes(t *testing.T, names ...string) []*mesh.Mesh {
	t.Helper()
	secret := mesh.NewSecret()
	var all []*mesh.Mesh
	for _, name := range names {
		m, err := mesh.Listen(mesh.Config{Name: name, Secrets: []string{secret}, Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		for _, o := range all {
			if err := m.Connect(t.Context(), o.Self()); err != nil {
				t.Fatal(err)
			}
			awaitPeers(t, o, len(all))
		}
		all = append(all, m)
	}
	return all
}

// awaitPeers waits until a mesh has so many, as Connect does only for its own side.
func awaitPeers(t *testing.T, m *mesh.Mesh, n int) {
	t.Helper()
	late := time.After(patience)
	for events := m.Events(t.Context()); len(m.Peers()) != n; {
		select {
		case <-events:
		case <-late:
			t.Fatalf("%s has %d peers; want %d", m.Self(), len(m.Peers()), n)
		}
	}
}

// A journal is what was heard.
type journal struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{} // holds a token when there is a new line
}

func newJournal() *journal { return &journal{changed: make(chan struct{}, 1)} }

func (j *journal) add(line string) {
	j.mu.Lock()
	j.lines = append(j.lines, line)
	j.mu.Unlock()
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// await waits until all of these lines are there, in any order.
func (j *journal) await(t *testing.T, want ...string) {
	t.Helper()
	late := time.After(patience)
	for slices.ContainsFunc(want, func(l string) bool { return !slices.Contains(j.all(), l) }) {
		select {
		case <-j.changed:
		case <-late:
			t.Fatalf("heard %q; want %q", j.all(), want)
		}
	}
}

func TestTopics(t *testing.T) {
	const each = 50
	subscribed := map[string][]string{"a": {"go"}, "b": {"go", "rust"}, "c": {"rust"}, "d": nil}
	names := []string{"a", "b", "c", "d"}
	meshes := testMeshes(t, names...)
	journals := map[string]*journal{}
	for i, name := range names {
		j := newJournal()
		journals[name] = j
		for _, topic := range subscribed[name] {
			hear := func(_ context.Context, from cluster.Node, data []byte) {
				j.add(fmt.Sprintf("%s %s %s", topic, from.Name(), data))
			}
			if err := (topics{meshes[i]}).subscribe(topic, hear); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range each { // who has not subscribed may publish, too
		for _, topic := range []string{"go", "rust", "zig"} {
			for _, m := range meshes {
				if err := (topics{m}).publish(t.Context(), topic, fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, name := range names {
		var want []string
		for _, topic := range subscribed[name] {
			for _, from := range names {
				for i := range each {
					if from != name {
						want = append(want, fmt.Sprintf("%s %s %d", topic, from, i))
					}
				}
			}
		}
		journals[name].await(t, want...)
	}
	for _, m := range meshes { // no handler runs afterwards
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		got := journals[name].all()
		if want := len(subscribed[name]) * (len(names) - 1) * each; len(got) != want {
			t.Errorf("%s heard %d messages; want %d", name, len(got), want)
		}
		inOrder(t, name, got)
	}
}

// inOrder checks that the numbers of each topic and node rise.
func inOrder(t *testing.T, name string, lines []string) {
	t.Helper()
	next := map[string]int{}
	for _, l := range lines {
		at := strings.LastIndexByte(l, ' ')
		from, number := l[:at], l[at+1:]
		if want := fmt.Sprint(next[from]); number != want {
			t.Errorf("%s heard %q where %s was due", name, l, want)
		}
		next[from]++
	}
}

func TestUnsubscribed(t *testing.T) {
	meshes := testMeshes(t, "a", "b")
	a, b := topics{meshes[0]}, topics{meshes[1]}
	j := newJournal()
	subscribe := func(topic string) {
		t.Helper()
		if err := b.subscribe(topic, func(_ context.Context, _ cluster.Node, data []byte) { j.add(topic + " " + string(data)) }); err != nil {
			t.Fatal(err)
		}
	}
	subscribe("one")
	subscribe("two")
	publish := func(topic, text string) {
		t.Helper()
		if err := a.publishTo(t.Context(), meshes[1].Self(), topic, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	publish("one", "before")
	j.await(t, "one before")
	if err := b.unsubscribe("one"); err != nil {
		t.Fatal(err)
	}
	publish("one", "meanwhile")
	publish("two", "after")
	j.await(t, "two after") // and so the other has come, too
	subscribe("one")
	publish("one", "again")
	j.await(t, "one again")
	if want := []string{"one before", "two after", "one again"}; !slices.Equal(j.all(), want) {
		t.Errorf("heard %q; want %q", j.all(), want)
	}
}
