package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// Two nodes that share a secret link and talk. Both are in one process here;
// usually each is on a host of its own.
func Example() {
	ctx := context.Background()
	secret := mesh.NewSecret()
	heard := make(chan string)

	a, err := mesh.Listen(mesh.Config{
		Secrets: []string{secret}, Bind: "127.0.0.1:0",
		Handlers: map[string]mesh.Handler{"greet": func(_ context.Context, msg mesh.Message) { heard <- string(msg.Data) }},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	b, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	if err := b.Connect(ctx, a.Self()); err != nil {
		fmt.Println(err)
		return
	}
	if err := b.Send(ctx, a.Self(), "greet", []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-heard)
	// Output: hello
}

// A node asks another, which answers with a reply or an error.
func ExampleMesh_Request() {
	ctx := context.Background()
	secret := mesh.NewSecret()
	stock := map[string]string{"apples": "12"}

	shop, err := mesh.Listen(mesh.Config{
		Secrets: []string{secret}, Bind: "127.0.0.1:0",
		Responders: map[string]mesh.Responder{"stock": func(_ context.Context, msg mesh.Message) ([]byte, error) {
			n, ok := stock[string(msg.Data)]
			if !ok {
				return nil, errors.New("no such thing")
			}
			return []byte(n), nil
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shop.Close()
	m, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	if err := m.Connect(ctx, shop.Self()); err != nil {
		fmt.Println(err)
		return
	}

	n, err := m.Request(ctx, shop.Self(), "stock", []byte("apples"))
	fmt.Println(string(n), err)
	_, err = m.Request(ctx, shop.Self(), "stock", []byte("hats"))
	if remote, ok := errors.AsType[*mesh.RemoteError](err); ok {
		fmt.Println(remote.Text)
	}
	_, err = m.Request(ctx, shop.Self(), "price", nil)
	fmt.Println(errors.Is(err, mesh.ErrNoHandler))
	// Output:
	// 12 <nil>
	// no such thing
	// true
}

// A node may set a responder at any time, and take it away again.
func ExampleMesh_Respond() {
	m, err := mesh.Listen(mesh.Config{Secrets: []string{mesh.NewSecret()}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	err = m.Respond("upper", func(_ context.Context, msg mesh.Message) ([]byte, error) {
		return bytes.ToUpper(msg.Data), nil
	})
	fmt.Println(err, m.Respond("upper", nil))
	// Output: <nil> <nil>
}

// A node without the secret isn't let in, and isn't told why.
func ExampleMesh_Connect_stranger() {
	ctx := context.Background()
	a, err := mesh.Listen(mesh.Config{Secrets: []string{mesh.NewSecret()}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	stranger, err := mesh.Listen(mesh.Config{Secrets: []string{mesh.NewSecret()}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stranger.Close()

	err = stranger.Connect(ctx, a.Self())
	fmt.Println(errors.Is(err, mesh.ErrProof), len(a.Peers()))
	// Output: true 0
}

// Peers see metadata that change.
func ExampleMesh_SetMeta() {
	ctx := context.Background()
	secret := mesh.NewSecret()
	a, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0", Meta: map[string]string{"state": "starting"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	b, err := mesh.Listen(mesh.Config{Secrets: []string{secret}, Bind: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	events := b.Events(ctx) // ends with the mesh
	if err := b.Connect(ctx, a.Self()); err != nil {
		fmt.Println(err)
		return
	}
	if err := a.SetMeta(map[string]string{"state": "ready"}); err != nil {
		fmt.Println(err)
		return
	}
	for e := range events {
		if e, ok := e.(mesh.PeerChanged); ok {
			fmt.Println(e.Peer.Meta["state"])
			break
		}
	}
	// Output: ready
}

// Without a secret there is no mesh, unless Insecure says that it is meant.
func ExampleListen_mistake() {
	_, err := mesh.Listen(mesh.Config{})
	fmt.Println(err)
	// Output: mesh: Config.Secrets is empty: give every node the same secret (mesh.NewSecret makes one), or set Config.TLS, or Config.Insecure for a mesh that anyone may join
}
