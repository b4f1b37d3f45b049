package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster/strategy/static"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen makes a mesh that tells what is said to it.
func listen(t *testing.T, secret string) (m *mesh.Mesh, greetings chan string) {
	t.Helper()
	greetings = make(chan string, 10)
	hear := func(_ context.Context, msg mesh.Message) { greetings <- string(msg.Data) }
	m, err := mesh.Listen(mesh.Config{
		Secrets: []string{secret}, Bind: "127.0.0.1:0", Handlers: map[string]mesh.Handler{"hello": hear},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, greetings
}

// isGreeted runs a node until there is a greeting from it.
func isGreeted(t *testing.T, greetings chan string, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	select {
	case got := <-greetings:
		if got != "hello" {
			t.Errorf("it says %q", got)
		}
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("no greeting")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestGreetsWhomItFinds(t *testing.T) {
	secret := mesh.NewSecret()
	for name, env := range map[string]string{
		"one secret":        secret,
		"a space after it":  secret + " ",
		"a comma after it":  secret + ",",
		"the second of two": mesh.NewSecret() + "," + secret,
		"a space before it": mesh.NewSecret() + ", " + secret,
		"nothing around it": "  " + secret + " , ,",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CLUSTER_SECRET", env)
			other, greetings := listen(t, secret)
			isGreeted(t, greetings, func(ctx context.Context) error {
				return run(ctx, "127.0.0.1:0", "", []string{string(other.Self())})
			})
		})
	}
}

// TestGreetsWhoWasThereBefore is for peers that dial as soon as the mesh listens.
func TestGreetsWhoWasThereBefore(t *testing.T) {
	secret := mesh.NewSecret()
	other, greetings := listen(t, secret)
	m, _ := listen(t, secret)
	if err := other.Connect(t.Context(), m.Self()); err != nil {
		t.Fatal(err)
	}
	if err := m.Connect(t.Context(), other.Self()); err != nil { // which waits until it sees it, too
		t.Fatal(err)
	}
	isGreeted(t, greetings, func(ctx context.Context) error { return greet(ctx, m, static.Strategy{}) })
}

func TestMistakesAreExplained(t *testing.T) {
	tests := []struct {
		name, secret, bind, host string
		want                     string
	}{
		{"no secret", "", "127.0.0.1:0", "127.0.0.1", "CLUSTER_SECRET is not set"},
		{"a short one", "abc", "127.0.0.1:0", "127.0.0.1", "has 3 bytes; want at least 16"},
		{"no port to bind", mesh.NewSecret(), "localhost", "127.0.0.1", `Config.Bind "localhost": want host:port`},
		{"not a host", mesh.NewSecret(), "127.0.0.1:0", "not a host", `Hosts[0] is "not a host"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CLUSTER_SECRET", tt.secret)
			err := run(t.Context(), tt.bind, "", []string{tt.host})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q in it", err, tt.want)
			}
		})
	}
}
