package main

import (
	"context"
	"net"
	"sync"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// scheme is that of the targets which stand for all nodes of the mesh.
const scheme = "mesh"

// serviceConfig has each call go to the next node, wait for one while there is
// none, and be made again if the node dies over it. The last is right for calls
// that may be made twice.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [{}],
		"waitForReady": true,
		"retryPolicy": {
			"maxAttempts": 5,
			"initialBackoff": "0.01s",
			"maxBackoff": "0.1s",
			"backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

// dialMesh returns a client of a service that the linked nodes listen for with
// [mesh.Mesh.ListenService]. A node that doesn't is left out of the balancing, as
// one is that can't be reached. The client has to be closed before the mesh.
func dialMesh(m *mesh.Mesh, service string) (*grpc.ClientConn, error) {
	return grpc.NewClient(scheme+":///"+service,
		grpc.WithResolvers(builder{m}),
		grpc.WithContextDialer(func(ctx context.Context, node string) (net.Conn, error) {
			return m.Dial(ctx, cluster.Node(node), service)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a stream is encrypted, and both its ends have proved themselves
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithUnaryInterceptor(again),
	)
}

// cutOff is how often a call is made whose answer had begun.
const cutOff = 3

// again makes a call again if the node dies over its answer: once that has begun,
// gRPC's own retry policy leaves the call alone. It is for calls that may be made
// twice, too.
func again(ctx context.Context, method string, req, reply any, client *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) (err error) {
	for range cutOff {
		if err = call(ctx, method, req, reply, client, opts...); status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// A builder makes the resolvers of clients, which call it.
type builder struct{ mesh *mesh.Mesh }

func (builder) Scheme() string { return scheme }

// Build starts a resolver: every up and down of a peer is told to the client.
func (b builder) Build(_ resolver.Target, client resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &meshResolver{cancel: cancel}
	r.telling.Go(func() {
		for range b.mesh.Events(ctx) { // the first comes at once
			_ = client.UpdateState(state(b.mesh.Peers())) // its error asks for another try, and each change is one
		}
	})
	return r, nil
}

// state has an endpoint for each peer.
func state(peers []mesh.Peer) resolver.State {
	endpoints := make([]resolver.Endpoint, 0, len(peers))
	for _, p := range peers {
		addr := resolver.Address{Addr: string(p.Node)}
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{addr}})
	}
	return resolver.State{Endpoints: endpoints}
}

// A meshResolver lives until its client is closed, or idle for long.
type meshResolver struct {
	cancel  context.CancelFunc
	telling sync.WaitGroup
}

// ResolveNow has nothing to do: what changes is told without being asked for.
func (*meshResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close returns when nothing is told any more.
func (r *meshResolver) Close() {
	r.cancel()
	r.telling.Wait()
}
