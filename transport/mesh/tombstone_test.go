package mesh

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// TestTombstonesEnd: of two instances, one of which has had an address of the
// other.
func TestTombstonesEnd(t *testing.T) {
	const ours, both, theirs, elsewhere = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"
	began := time.Unix(1_000_000, 0)
	one, other, newcomer := instanceID{1}, instanceID{2}, instanceID{3}
	tests := []struct {
		name string
		do   func(graves tombstones)
		at   time.Duration
		left []instanceID
	}{
		{"until shortly before an hour", func(tombstones) {}, tombstoneTime - 1, []instanceID{one, other}},
		{"not for longer", func(tombstones) {}, tombstoneTime, nil},
		{"one is wanted", func(g tombstones) { g.drop(one) }, 0, []instanceID{other}},
		{"an address is wanted", func(g tombstones) { g.dropAddr(ours) }, 0, []instanceID{other}},
		{"the second address of one is wanted", func(g tombstones) { g.dropAddr(theirs) }, 0, []instanceID{one}},
		{"an address that both have is wanted", func(g tombstones) { g.dropAddr(both) }, 0, nil},
		{"another address is wanted", func(g tombstones) { g.dropAddr(elsewhere) }, 0, []instanceID{one, other}},
		{"a newcomer has an address", func(g tombstones) { g.dropOthers(newcomer, []string{elsewhere, theirs}) }, 0, []instanceID{one}},
		{"a newcomer is elsewhere", func(g tombstones) { g.dropOthers(newcomer, []string{elsewhere}) }, 0, []instanceID{one, other}},
		{"one of them has the address", func(g tombstones) { g.dropOthers(one, []string{ours, both}) }, 0, []instanceID{one}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			graves := tombstones{}
			graves.add(one, []string{ours, both}, began)
			graves.add(other, []string{both, theirs}, began)
			tt.do(graves)
			left := slices.SortedFunc(maps.Keys(graves), compareInstances)
			left = slices.DeleteFunc(left, func(id instanceID) bool { return !graves.has(id, began.Add(tt.at)) })
			if !slices.Equal(left, tt.left) {
				t.Errorf("left are %s, want %s", left, tt.left)
			}
		})
	}
}

// TestATombstoneEndsWhenItIsWanted: by whichever address it is reached, also one
// that it doesn't name itself, as behind a name or a relay.
func TestATombstoneEndsWhenItIsWanted(t *testing.T) {
	const unnamed = transport.Node("10.0.0.1:4370")
	for _, advertised := range []string{unnamed.Addr(), "10.0.0.9:4370"} {
		t.Run(advertised, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newFakeNet()
				a := net.listen(t, 0, nil)
				b := net.listen(t, 1, func(c *Config) { c.Advertise, c.ForgetAfter = advertised, -1 })
				connect(t, b, a)
				if err := a.Disconnect(t.Context(), b.Self()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if err := b.Connect(t.Context(), a.Self()); !errors.Is(err, transport.ErrUnwanted) {
					t.Fatalf("it dials: %v, want ErrUnwanted", err)
				}
				if err := a.Connect(t.Context(), unnamed); err != nil {
					t.Fatal(err)
				}
				a.Forget(b.Self())
				breakLinks(a)
				synctest.Wait()
				if err := b.Connect(t.Context(), a.Self()); err != nil {
					t.Errorf("it dials after a loss, though it is wanted here: %v", err)
				}
			})
		})
	}
}
