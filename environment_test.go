package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"
)

const goodSecret = "correct horse battery staple"

// hosts is a strategy of fixed hosts.
type hosts []Node

func (h hosts) Run(_ context.Context, r *Roster) error {
	r.Replace(h)
	return nil
}

func startFromEnvironment(t *testing.T, topologies []Topology) *Supervisor {
	t.Helper()
	sup, err := Start(t.Context(), topologies, WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
	})
	return sup
}

func TestAMeshFromTheEnvironment(t *testing.T) {
	t.Setenv(EnvSecret, goodSecret+", another one of sixteen bytes")
	t.Setenv(EnvBind, "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a := startFromEnvironment(t, []Topology{{Name: "web", Strategy: hosts{}}})
	b := startFromEnvironment(t, nil)
	if b.Mesh() != nil {
		t.Error("a mesh that nobody needs is made")
	}
	self := a.Mesh().Self()
	if err := b.Apply([]Topology{{Name: "web", Strategy: hosts{self}}}); err != nil {
		t.Fatal(err)
	}
	for sup, want := range map[*Supervisor]Node{a: b.Mesh().Self(), b: self} {
		if err := sup.WaitNodes(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if got := sup.Nodes(); !slices.Equal(got, nodes(want)) {
			t.Errorf("linked with %v, want %s", got, want)
		}
	}
	events := a.Events(ctx)
	b.Stop()
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e, ok := e.(NodeDisconnected); ok {
			if !errors.Is(e.Cause, ErrLeft) {
				t.Errorf("the stop is seen as %v, want %v", e.Cause, ErrLeft)
			}
			return
		}
	}
	t.Errorf("not told that the node left: %v", ctx.Err())
}

// TestApplyAfterTheStopMakesNoMesh: nobody would close it.
func TestApplyAfterTheStopMakesNoMesh(t *testing.T) {
	t.Setenv(EnvSecret, goodSecret)
	t.Setenv(EnvBind, "127.0.0.1:0")
	sup := startFromEnvironment(t, nil)
	sup.Stop()
	err := sup.Apply([]Topology{{Name: "web", Strategy: hosts{}}})
	if !errors.Is(err, ErrStopped) || err.Error() != ErrStopped.Error() || sup.Mesh() != nil {
		t.Errorf("Apply returns %q and makes the mesh %v, want %q and none", err, sup.Mesh(), ErrStopped)
	}
}

func TestNoMeshWhereNoneIsNeeded(t *testing.T) {
	t.Setenv(EnvSecret, "")
	connect := func(context.Context, Node) error { return nil }
	sup := startFromEnvironment(t, []Topology{{
		Name: "funcs", Strategy: hosts{}, Connect: connect, Disconnect: connect,
		ListNodes: func(context.Context) ([]Node, error) { return nil, nil },
	}})
	if m := sup.Mesh(); m != nil {
		t.Errorf("Mesh is %v", m.Self())
	}
}

func TestSecretsFromEnvironment(t *testing.T) {
	tests := []struct {
		name, value string
		want        []string
	}{
		{"not set", "", nil},
		{"nothing but commas", " , ", nil},
		{"one with spaces in it, and a line's end", "a good one\n", []string{"a good one"}},
		{"two while they are changed", " new, old,", []string{"new", "old"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(EnvSecret, tt.value)
			got, err := SecretsFromEnvironment()
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
				t.Errorf("%q and %v; want %q", got, err, tt.want)
			}
		})
	}
}
