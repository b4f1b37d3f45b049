package main

import (
	"bufio"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func testMesh(t *testing.T, name, secret string) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Listen(mesh.Config{Name: name, Secrets: []string{secret}, Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func testLayer(t *testing.T, m *mesh.Mesh) *layer {
	t.Helper()
	l, err := newLayer(m)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTheLayerCarriesBytes(t *testing.T) {
	secret := mesh.NewSecret()
	ma, mb := testMesh(t, "a", secret), testMesh(t, "b", secret)
	if err := ma.Connect(t.Context(), mb.Self()); err != nil {
		t.Fatal(err)
	}
	a, b := testLayer(t, ma), testLayer(t, mb)
	if got, want := b.Addr().String(), string(mb.Self()); got != want {
		t.Errorf("the address of b is %s; want %s", got, want)
	}
	addr, err := a.ServerAddr("b")
	if err != nil || addr != raft.ServerAddress(mb.Self()) {
		t.Fatalf("b is at %q (%v); want %s", addr, err, mb.Self())
	}
	out, err := a.Dial(addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := io.WriteString(out, "vote\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(in).ReadString('\n'); got != "vote\n" {
		t.Errorf("it reads %q (%v)", got, err)
	}
}

func TestTheLayerFailsAtOnce(t *testing.T) {
	secret := mesh.NewSecret()
	ma, deaf, closed := testMesh(t, "a", secret), testMesh(t, "deaf", secret), testMesh(t, "closed", secret)
	a := testLayer(t, ma)
	for _, m := range []*mesh.Mesh{deaf, closed} {
		if err := ma.Connect(t.Context(), m.Self()); err != nil {
			t.Fatal(err)
		}
	}
	if err := testLayer(t, closed).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ServerAddr("nobody"); !errors.Is(err, mesh.ErrNoNode) {
		t.Errorf("the address of nobody: %v; want %v", err, mesh.ErrNoNode)
	}
	tests := []struct {
		name, addr string
		ok         func(error) bool
	}{
		{"no link", "nobody@127.0.0.1:1", func(err error) bool { return errors.Is(err, mesh.ErrNoNode) }},
		{"nobody listens", string(deaf.Self()), noService},
		{"it listened", string(closed.Self()), noService},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			_, err := a.Dial(raft.ServerAddress(tt.addr), time.Minute)
			if err == nil || !tt.ok(err) {
				t.Errorf("the error is %v", err)
			}
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func noService(err error) bool {
	refused, ok := errors.AsType[*mesh.RefusedError](err)
	return ok && refused.Code == mesh.CodeNoService
}
