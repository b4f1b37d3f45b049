package main

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/libcluster-go/cluster/examples/grpc/greeterpb"
)

const patience = 10 * time.Second

// A fakeClient takes what a resolver tells.
type fakeClient struct {
	resolver.ClientConn

	told chan resolver.State
}

func (c *fakeClient) UpdateState(s resolver.State) error {
	c.told <- s
	return nil
}

// await reads up to a state that has just these nodes.
func (c *fakeClient) await(t *testing.T, want ...*mesh.Mesh) {
	t.Helper()
	var addrs []string
	for _, m := range want {
		addrs = append(addrs, string(m.Self()))
	}
	slices.Sort(addrs)
	late := time.After(patience)
	for {
		var got []string
		select {
		case s := <-c.told:
			for _, e := range s.Endpoints {
				got = append(got, e.Addresses[0].Addr)
			}
		case <-late:
			t.Fatalf("%q is never told", addrs)
		}
		if slices.Equal(got, addrs) {
			return
		}
	}
}

func testMesh(t *testing.T, name, secret string) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Listen(mesh.Config{Name: name, Secrets: []string{secret}, Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestTheResolverFollowsThePeers(t *testing.T) {
	secret := mesh.NewSecret()
	self, a, b := testMesh(t, "self", secret), testMesh(t, "a", secret), testMesh(t, "b", secret)
	client := &fakeClient{told: make(chan resolver.State, 100)}
	r, err := builder{self}.Build(resolver.Target{}, client, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	connect := func(m *mesh.Mesh) {
		t.Helper()
		if err := self.Connect(t.Context(), m.Self()); err != nil {
			t.Fatal(err)
		}
	}
	client.await(t) // nobody is an answer
	connect(a)
	client.await(t, a)
	connect(b)
	client.await(t, a, b)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	client.await(t, b)
	again := testMesh(t, "a", secret) // another port
	connect(again)
	client.await(t, again, b)

	r.Close()
	for len(client.told) > 0 {
		<-client.told
	}
	events := self.Events(t.Context())
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	awaitDown(t, events, b)
	if len(client.told) > 0 {
		t.Error("it tells something after Close")
	}
}

// A busyClient takes what it is told when it is released.
type busyClient struct {
	resolver.ClientConn

	entered, release chan struct{}
	left             atomic.Bool
}

func (c *busyClient) UpdateState(resolver.State) error {
	close(c.entered)
	<-c.release
	c.left.Store(true)
	return nil
}

func TestCloseWaitsForWhatIsBeingTold(t *testing.T) {
	client := &busyClient{entered: make(chan struct{}), release: make(chan struct{})}
	r, err := builder{testMesh(t, "self", mesh.NewSecret())}.Build(resolver.Target{}, client, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-client.entered
	closed := make(chan bool, 1)
	go func() {
		r.Close()
		closed <- client.left.Load()
	}()
	select {
	case <-closed:
		t.Error("it doesn't wait")
		close(client.release)
	case <-time.After(50 * time.Millisecond): // for one that doesn't wait to be seen
		close(client.release)
		if !<-closed {
			t.Error("it didn't wait")
		}
	}
}

func awaitDown(t *testing.T, events <-chan mesh.Event, m *mesh.Mesh) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-events:
			if down, ok := e.(mesh.PeerDown); ok && down.Peer.Node == m.Self() {
				return
			}
		case <-late:
			t.Fatalf("%s doesn't go down", m.Self())
		}
	}
}

// greet calls until a node has replied. No call may fail.
func greet(t *testing.T, client greeterpb.GreeterClient, from string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		reply, err := client.Greet(ctx, &greeterpb.GreetRequest{Name: "you"})
		if err != nil {
			t.Fatalf("waiting for %s: %v", from, err)
		}
		if reply.GetText() != "hello, you" {
			t.Fatalf("the greeting is %q", reply.GetText())
		}
		if reply.GetNode() == from {
			return
		}
	}
}

func TestCallsFollowTheNodes(t *testing.T) {
	s := testSettings(t)
	self := testNode(t, "self", s)
	conn, err := dialMesh(self.mesh, service)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := greeterpb.NewGreeterClient(conn)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // more than all retries take
	defer cancel()
	if _, err := client.Greet(ctx, &greeterpb.GreetRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("with nobody there, a call ends with %v; want that it waits", err)
	}
	a := testNode(t, "a", s)
	greet(t, client, "a")
	testNode(t, "b", s)
	greet(t, client, "b")
	greet(t, client, "a")
	if err := a.mesh.Close(); err != nil { // the server hears nothing of it
		t.Fatal(err)
	}
	for range 100 {
		greet(t, client, "b")
	}
	testNode(t, "a", s)
	greet(t, client, "a")
}

func TestANodeThatDoesNotServeIsLeftOut(t *testing.T) {
	s := testSettings(t)
	self := testNode(t, "self", s)
	idle := testMesh(t, "idle", s.secrets[0])
	if err := self.mesh.Connect(t.Context(), idle.Self()); err != nil {
		t.Fatal(err)
	}
	conn, err := dialMesh(self.mesh, service)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	testNode(t, "a", s)
	client := greeterpb.NewGreeterClient(conn)
	for range 10 {
		greet(t, client, "a")
	}
}

// TestAgain: a call whose answer was cut off is made again, and no other.
func TestAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		codes []codes.Code // of one call after the other
		want  codes.Code
		calls int
	}{
		{"answered", []codes.Code{codes.OK}, codes.OK, 1},
		{"cut off once", []codes.Code{codes.Unavailable, codes.OK}, codes.OK, 2},
		{"cut off each time", []codes.Code{codes.Unavailable, codes.Unavailable, codes.Unavailable}, codes.Unavailable, 3},
		{"refused", []codes.Code{codes.InvalidArgument}, codes.InvalidArgument, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			err := again(t.Context(), "m", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
				calls++
				return status.Error(tt.codes[calls-1], "as told")
			})
			if status.Code(err) != tt.want || calls != tt.calls {
				t.Errorf("%v after %d calls, want %s after %d", err, calls, tt.want, tt.calls)
			}
		})
	}
}
