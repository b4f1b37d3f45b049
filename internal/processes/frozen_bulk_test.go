//go:build unix

package processes_test

import (
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// TestFrozenBesideBulk: with the default settings, a peer that takes bulk is stopped
// for 7 seconds, less than DownAfter (10 s). It isn't given up, though TCP would do
// so (TCP_USER_TIMEOUT counts the time in which the window is shut).
func TestFrozenBesideBulk(t *testing.T) {
	m, err := mesh.Listen(config(theSecret))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := takeBulk(m, func() {}); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, childIdles, theSecret)
	if err := m.Connect(t.Context(), transport.Node(c.node)); err != nil {
		t.Fatal(err)
	}
	events := m.Events(t.Context())
	go func() { _ = pour(m, transport.Node(c.node)) }()
	if err := m.Send(t.Context(), transport.Node(c.node), "bulk", make([]byte, bulkSize)); err != nil {
		t.Fatal(err)
	}
	c.freeze(t, 7*time.Second)
	for late := time.After(2 * time.Second); ; {
		select {
		case e := <-events:
			if down, ok := e.(mesh.PeerDown); ok {
				t.Fatalf("given up: %s", down.Reason)
			}
		case <-late:
			return
		}
	}
}
