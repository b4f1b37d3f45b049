//go:build unix

package processes_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// TestFrozenBesideBulk: with the default settings, a peer that takes bulk is stopped
// for 7 seconds, less than DownAfter (10 s). It isn't given up, though TCP would do
// so (TCP_USER_TIMEOUT counts the time in which the window is shut): neither if
// whoever sends waits, nor if what was sent fits into the kernel's buffers, but not
// into the peer's.
func TestFrozenBesideBulk(t *testing.T) {
	for _, kib := range []int{128, 192, 256, 16 << 10} {
		t.Run(fmt.Sprint(kib, " KiB"), func(t *testing.T) {
			t.Parallel()
			m, err := mesh.Listen(config(theSecret))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			c := startChild(t, childIdles, theSecret)
			to := transport.Node(c.node)
			if err := m.Connect(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			events := m.Events(t.Context())
			go func() {
				time.Sleep(300 * time.Millisecond) // the peer is stopped by then
				for range kib {
					if m.Send(t.Context(), to, "bulk", make([]byte, 1<<10)) != nil {
						return
					}
				}
			}()
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
		})
	}
}
