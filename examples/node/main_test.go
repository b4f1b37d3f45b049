package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster/transport/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGreetsWhomItFinds(t *testing.T) {
	secret := mesh.NewSecret()
	t.Setenv("CLUSTER_SECRET", secret)
	greetings := make(chan string, 1)
	other, err := mesh.Listen(mesh.Config{
		Secrets: []string{secret}, Bind: "127.0.0.1:0",
		Handlers: map[string]mesh.Handler{"hello": func(_ context.Context, msg mesh.Message) { greetings <- string(msg.Data) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", "", []string{string(other.Self())}) }()
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
