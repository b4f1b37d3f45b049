package memory_test

import (
	"context"
	"fmt"

	"github.com/libcluster-go/cluster/transport/memory"
)

// A network for tests can be cut and healed.
func Example() {
	ctx := context.Background()
	network := memory.New()
	a, _ := network.Join("a:1")
	_, _ = network.Join("b:1")

	fmt.Println(a.Connect(ctx, "b:1"))
	fmt.Println(a.ListNodes(ctx))

	network.Cut("a:1", "b:1")
	fmt.Println(a.ListNodes(ctx))
	fmt.Println(a.Connect(ctx, "b:1"))

	network.Heal()
	fmt.Println(a.Connect(ctx, "b:1"))
	// Output:
	// <nil>
	// [b:1] <nil>
	// [] <nil>
	// memory: unreachable: b:1
	// <nil>
}
