package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/memory"
)

// wrong is a strategy that doesn't like its settings.
type wrong struct{ Port int }

func (w wrong) Run(context.Context, *Roster) error { return nil }

func (w wrong) Validate() error {
	return fmt.Errorf("Port is %d; want 1 to 65535", w.Port)
}

// wrongIn has several mistakes.
type wrongIn struct{ err error }

func (w wrongIn) Run(context.Context, *Roster) error { return nil }
func (w wrongIn) Validate() error                    { return w.err }

// byValue is a transport that can't be compared.
type byValue struct {
	*memory.Transport

	Zones []string
}

// inInterface is one only if what is in it is.
type inInterface struct {
	*memory.Transport

	Zone any
}

func TestWrongTopologies(t *testing.T) {
	src := newSource()
	connect := func(context.Context, Node) error { return nil }
	list := func(context.Context) ([]Node, error) { return nil, nil }
	tr, err := memory.New().Join("me:1")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		topologies []Topology
		want       []string // each a line
	}{
		{
			"no name",
			[]Topology{{Strategy: src}},
			[]string{`cluster: topology 0 (strategy *cluster.source) has no Name; give it one, such as "web"`},
		},
		{
			"several mistakes of a strategy",
			[]Topology{{Name: "web", Strategy: wrongIn{errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("three")))}}},
			[]string{
				`cluster: topology "web": Strategy cluster.wrongIn: one`,
				`cluster: topology "web": Strategy cluster.wrongIn: two`,
				`cluster: topology "web": Strategy cluster.wrongIn: three`,
			},
		},
		{
			"one mistake of two causes",
			[]Topology{{Name: "web", Strategy: wrongIn{fmt.Errorf("%w, since %w", errors.New("one"), errors.New("two"))}}},
			[]string{`cluster: topology "web": Strategy cluster.wrongIn: one, since two`},
		},
		{
			"neither name nor strategy",
			[]Topology{{}},
			[]string{`cluster: topology 0 has neither a Name nor a Strategy; give it both`},
		},
		{
			"two of one name",
			[]Topology{{Name: "web", Strategy: src}, {Name: "db", Strategy: src}, {Name: "web", Strategy: src}},
			[]string{`cluster: topologies 0 and 2 are both named "web"; give each a Name of its own`},
		},
		{
			"no strategy",
			[]Topology{{Name: "web"}},
			[]string{`cluster: topology "web" has no Strategy; set one, such as static.Strategy or cluster.Poll`},
		},
		{
			"a nil strategy",
			[]Topology{{Name: "web", Strategy: (*source)(nil)}},
			[]string{`cluster: topology "web": Strategy is a nil *cluster.source; set one, such as static.Strategy or cluster.Poll`},
		},
		{
			"Validate",
			[]Topology{{Name: "web", Strategy: wrong{Port: 70000}}},
			[]string{`cluster: topology "web": Strategy cluster.wrong: Port is 70000; want 1 to 65535`},
		},
		{
			"Poll",
			[]Topology{{Name: "web", Strategy: Poll(0, nil)}},
			[]string{
				`cluster: topology "web": Strategy cluster.Poll(0s): interval is 0s; want a positive one, such as 5s`,
				`lookup is nil; want a func that returns the nodes`,
			},
		},
		{
			"one func of three",
			[]Topology{{Name: "web", Strategy: src, Connect: connect}},
			[]string{`cluster: topology "web": Connect is set, but not Disconnect and ListNodes; set all three funcs, or none and a Transport`},
		},
		{
			"two funcs of three",
			[]Topology{{Name: "web", Strategy: src, Connect: connect, ListNodes: list}},
			[]string{`cluster: topology "web": Connect and ListNodes are set, but not Disconnect; set all three funcs, or none and a Transport`},
		},
		{
			"transport and funcs",
			[]Topology{{Name: "web", Strategy: src, Transport: tr, Connect: connect, Disconnect: connect, ListNodes: list}},
			[]string{`cluster: topology "web": both Transport (*memory.Transport) and the three funcs are set; set one of the two`},
		},
		{
			"a nil transport",
			[]Topology{{Name: "web", Strategy: src, Transport: (*memory.Transport)(nil)}},
			[]string{`cluster: topology "web": Transport is a nil *memory.Transport; leave it out for the default`},
		},
		{
			"a transport that can't be shared",
			[]Topology{{Name: "web", Strategy: src, Transport: byValue{tr, nil}}},
			[]string{`cluster: topology "web": Transport is a cluster.byValue, which can't be compared, so that topologies could not share it; use a pointer`},
		},
		{
			"one of which that depends",
			[]Topology{{Name: "web", Strategy: src, Transport: inInterface{tr, []string{"a"}}}},
			[]string{`cluster: topology "web": Transport is a cluster.inInterface, which can't be compared, so that topologies could not share it; use a pointer`},
		},
		{
			"Self beside a transport",
			[]Topology{{Name: "web", Strategy: src, Transport: tr, Self: "me:1"}},
			[]string{`cluster: topology "web": Self is "me:1", but a transport has its own; set Self only beside the three funcs`},
		},
		{
			"Self that is no node",
			[]Topology{{Name: "web", Strategy: src, Self: "me", Connect: connect, Disconnect: connect, ListNodes: list}},
			[]string{`cluster: topology "web": Self: transport: node "me": missing port in address; want host:port or name@host:port`},
		},
		{
			"several mistakes",
			[]Topology{{Name: "web"}, {Name: "db", Strategy: wrong{}, Connect: connect}},
			[]string{`topology "web" has no Strategy`, `topology "db": Strategy cluster.wrong: Port is 0`, `topology "db": Connect is set`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sup, err := Start(t.Context(), tt.topologies, WithTransport(tr), WithLogger(slog.New(slog.DiscardHandler)))
			if err == nil {
				sup.Stop()
				_ = sup.Wait()
				t.Fatal("it is accepted")
			}
			checkMessage(t, err, tt.want)
		})
	}
}

func checkMessage(t *testing.T, err error, want []string) {
	t.Helper()
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), err)
	}
	for i, w := range want {
		if !strings.Contains(lines[i], w) {
			t.Errorf("it says\n%s\nwant\n%s", lines[i], w)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	tests := []struct {
		name string
		opt  Option
		want string
	}{
		{"grace", WithRemoveGrace(-time.Second), "cluster: WithRemoveGrace(-1s): want zero or more"},
		{"TTL", WithHintTTL(0), "cluster: WithHintTTL(0s): want more than zero"},
		{"connect timeout", WithConnectTimeout(-1), "cluster: WithConnectTimeout(-1ns): want more than zero"},
		{"interval", WithReconcileInterval(0), "cluster: WithReconcileInterval(0s): want more than zero"},
		{"stop timeout", WithStopTimeout(0), "cluster: WithStopTimeout(0s): want more than zero"},
		{"connects", WithMaxConnects(1), "cluster: WithMaxConnects(1): want at least 2, one of which is for retries"},
		{"a nil transport", WithTransport((*memory.Transport)(nil)), "cluster: WithTransport: the transport is a nil *memory.Transport; leave it out for the default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(t.Context(), nil, tt.opt, nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("it says\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
	topologies := []Topology{{}, {Name: "web", Strategy: wrong{}}}
	_, err := Start(t.Context(), topologies, WithHintTTL(0), WithMaxConnects(0))
	if err == nil || strings.Count(err.Error(), "\n") != 3 || !strings.Contains(err.Error(), "topology 0") || !strings.Contains(err.Error(), "Port is 0") {
		t.Errorf("want all four mistakes: %v", err)
	}
}

func TestWrongEnvironment(t *testing.T) {
	const missing = `cluster: topology "web" has no transport, and a mesh can't be made from the environment: `
	tests := []struct {
		name                    string
		secret, bind, advertise string
		want                    []string // all in it
	}{
		{"no secret", "", "", "", []string{missing, "CLUSTER_SECRET is not set", "openssl rand -base64 32", "WithTransport"}},
		{"commas only", " , ", "", "", []string{missing, "CLUSTER_SECRET is not set"}},
		{"short", "hunter2", "", "", []string{missing, "CLUSTER_SECRET", "7 bytes", "16"}},
		{"weak", strings.Repeat("ab", 20), "", "", []string{missing, "CLUSTER_SECRET", "2 different bytes", "8"}},
		{"the second is short", goodSecret + ",short", "", "", []string{missing, "CLUSTER_SECRET", "5 bytes", "16"}},
		{"bind", goodSecret, "nonsense", "", []string{missing, "CLUSTER_BIND", "nonsense"}},
		{"advertise", goodSecret, "127.0.0.1:0", "a:b:c", []string{missing, "CLUSTER_ADVERTISE", "a:b:c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(EnvSecret, tt.secret)
			t.Setenv(EnvBind, tt.bind)
			t.Setenv(EnvAdvertise, tt.advertise)
			sup, err := Start(t.Context(), []Topology{{Name: "web", Strategy: newSource()}})
			if err == nil {
				sup.Stop()
				_ = sup.Wait()
				t.Fatal("it is accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q isn't in\n%v", want, err)
				}
			}
			if tt.secret != "" && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells the secret: %v", err)
			}
		})
	}
}

func TestRunReturnsAWrongConfiguration(t *testing.T) {
	if err := Run(t.Context(), []Topology{{}}); err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("Run: %v", err)
	}
}
