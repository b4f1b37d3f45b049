package processes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// A resident is a talker of this process that stays.
type resident struct {
	*talker
	others []transport.Node
	metas  int                 // how often it has changed what it tells of itself
	parted chan transport.Node // with whom a link has ended by Disconnect
}

// settle links residents. Until the test ends, no link between them ends but by
// Disconnect, and none at all but those of the first.
func settle(t *testing.T, ring *keyring) (all []*resident) {
	t.Helper()
	var nodes []transport.Node
	for range residents {
		r := &resident{talker: enter(ring, func(secrets []string) *talker { return listen(t, secrets) }), parted: make(chan transport.Node, 1)}
		all, nodes = append(all, r), append(nodes, r.m.Self())
		t.Cleanup(func() { r.close(); r.check(t) })
	}
	slices.Sort(nodes)
	for i, r := range all {
		r.others = slices.DeleteFunc(slices.Clone(nodes), func(n transport.Node) bool { return n == r.m.Self() })
		for _, n := range r.others {
			if err := r.m.Connect(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		r.ring = ring
		if i > 0 {
			r.steady = slices.DeleteFunc(slices.Clone(r.others), func(n transport.Node) bool { return n == all[0].m.Self() })
		}
		go r.watch(r.m.Events(t.Context()))
	}
	return all
}

// watch blames the ends of links with other residents that nobody has asked for.
func (r *resident) watch(events <-chan mesh.Event) {
	for e := range events {
		down, ok := e.(mesh.PeerDown)
		if !ok || !slices.Contains(r.others, down.Peer.Node) {
			continue
		}
		switch down.Reason {
		case mesh.ReasonLeft, mesh.ReasonClosed: // the test is over
		case mesh.ReasonUnwanted:
			select {
			case r.parted <- down.Peer.Node:
			default:
				r.blame(fmt.Errorf("the link with %s has ended once more than was asked for", down.Peer.Node))
			}
		default:
			r.blame(fmt.Errorf("the link with %s broke: %s", down.Peer.Node, down.Reason))
		}
	}
}

const metaKey = "changes"

func (r *resident) changeMeta() error {
	r.metas++
	return r.m.SetMeta(map[string]string{metaKey: strconv.Itoa(r.metas)})
}

// seenBy reports whether another has what this one has told of itself last.
func (r *resident) seenBy(o *resident) bool {
	return r.metas == 0 || slices.ContainsFunc(o.m.Peers(), func(p mesh.Peer) bool {
		return p.Node == r.m.Self() && p.Meta[metaKey] == strconv.Itoa(r.metas)
	})
}

// sees reports whether another is linked.
func (r *resident) sees(o *resident) bool { return len(r.m.Canonical(o.m.Self())) > 0 }

// shun disconnects another, and connects it again after a while, even if ctx is
// done by then. Both see that the link ends, and meanwhile there is no other: what
// others tell of the two doesn't make one, and the other is refused.
func (r *resident) shun(ctx context.Context, o *resident) error {
	if err := r.m.Disconnect(ctx, o.m.Self()); err != nil {
		return err
	}
	if err := errors.Join(r.awaitParted(o), o.awaitParted(r)); err != nil {
		return err
	}
	stay(ctx)
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), talkTime)
	defer cancel()
	if err := o.m.Connect(again, r.m.Self()); !errors.Is(err, transport.ErrUnwanted) && !errors.Is(err, mesh.ErrProof) { // or the secrets have changed
		return fmt.Errorf("%s isn't refused by %s, which has disconnected it: %s", o.m.Self(), r.m.Self(), fmt.Sprint(err))
	}
	if r.sees(o) || o.sees(r) {
		return fmt.Errorf("%s and %s are linked, though the first has disconnected the other", r.m.Self(), o.m.Self())
	}
	return errors.Join(r.insist(again, o), o.insist(again, r))
}

// insist connects another, and tries again as a supervisor does: a handshake that a
// change of the secrets overtakes fails.
func (r *resident) insist(ctx context.Context, o *resident) error {
	for {
		err := r.m.Connect(ctx, o.m.Self())
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (r *resident) awaitParted(o *resident) error {
	select {
	case n := <-r.parted:
		if n != o.m.Self() {
			return fmt.Errorf("%s has parted with %s instead of %s", r.m.Self(), n, o.m.Self())
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("not in %s: %s sees that it has parted with %s", patience, r.m.Self(), o.m.Self())
	}
}
