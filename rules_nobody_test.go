package cluster

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/memory"
)

// The tests of rule 2 for answers of nobody that list this node by another name
// than its own, as the stable names of a StatefulSet do: web-0 is this node, and
// web-1 is a:1.

// newNamedWorld is one of those names, and of others.
func newNamedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "a:1", "b:1")
	w.net.Name("web-0:1", "me:1")
	w.net.Name("me-too:1", "me:1")
	w.net.Name("10.0.0.9:1", "me:1")
	w.net.Name("web-1:1", "a:1")
	w.net.Name("web-2:1", "b:1")
	w.net.Name("all:1", "me:1", "b:1")
	return w
}

func TestRule02_WhoIsMissingFromAnAnswerOfOwnNames(t *testing.T) {
	all := nodes("web-0:1", "web-1:1")
	tests := []struct {
		name   string
		answer func(w *world, src *source)
		wanted bool // web-1 stays wanted
		linked []Node
	}{
		{"a name that was found to be this node's", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("web-0:1"))
		}, true, nil},
		{"one that is found out after the answer", func(_ *world, src *source) {
			src.r().Replace(nodes("web-1:1"))
			src.r().Replace(nodes("web-0:1"))
		}, true, nil},
		{"one that is found out after the next answer", func(w *world, src *source) {
			src.r().Replace(nodes("web-1:1"))
			synctest.Wait()
			w.net.SetDelay(time.Second)
			src.r().Replace(nodes("web-0:1"))
			src.r().Replace(nodes("web-0:1"))
			time.Sleep(time.Second)
			w.net.SetDelay(0)
		}, true, nil},
		{"several, and another address", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("me:1", "web-0:1", "me-too:1", "10.0.0.9:1"))
		}, true, nil},
		{"one that is kept", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nil, "web-0:1")
		}, true, nil},
		{"one that can't be resolved for a while", func(w *world, src *source) {
			src.r().Replace(all)
			synctest.Wait()
			w.net.Name("web-0:1")
			time.Sleep(recheckInterval + time.Second)
			src.r().Replace(nodes("web-0:1"))
		}, true, nil},
		{"of a strategy that was started again", func(_ *world, src *source) {
			src.r().Replace(all)
			src.end <- errSource
			time.Sleep(time.Second)
			src.r().Replace(nodes("web-0:1"))
		}, true, nil},
		{"then one of nobody at all", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("web-0:1"))
			src.r().Replace(nil)
		}, true, nil},
		{"a name of this node and another", func(_ *world, src *source) {
			src.r().Replace(append(all, "all:1"))
			src.r().Replace(nodes("web-0:1", "all:1"))
		}, false, nodes("b:1")},
		{"one that has another's address by now", func(w *world, src *source) {
			src.r().Replace(all)
			synctest.Wait()
			w.net.Name("web-0:1", "me:1", "b:1")
			src.r().Replace(nodes("web-0:1"))
			time.Sleep(recheckInterval - time.Second)
			src.r().Replace(all)
			src.r().Replace(nodes("web-0:1"))
			time.Sleep(time.Second)
		}, false, nodes("b:1")},
		{"another that was never reached", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("web-0:1", "gone:1"))
		}, false, nil},
		{"another before that", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("web-2:1"))
			src.r().Replace(nodes("web-0:1"))
		}, false, nodes("b:1")},
		{"another that was removed since", func(_ *world, src *source) {
			src.r().Replace(all)
			src.r().Replace(nodes("web-0:1", "web-2:1"))
			src.r().Remove("web-2:1")
		}, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newNamedWorld(t)
				src := w.startOne()
				tt.answer(w, src)
				synctest.Wait()
				w.net.Break("me:1", "a:1")
				time.Sleep(defaultRemoveGrace / 2)
				linked := tt.linked
				if tt.wanted {
					linked = append(nodes("a:1"), linked...)
				}
				w.wantLinked("in the grace, after a loss", linked...)
				time.Sleep(defaultRemoveGrace)
				synctest.Wait()
				for _, n := range w.sup.Status().Topologies[0].Nodes {
					if n.Node == "web-1:1" {
						t.Errorf("after the grace: %+v", n)
					}
				}
			})
		})
	}
}

func TestRule02_AnAnswerOfOwnNamesIsAskedForTwiceMore(t *testing.T) {
	all := nodes("web-0:1", "web-1:1")
	tests := []struct {
		name        string
		before      func(w *world)
		first, then []Node
		least, most int // questions more
	}{
		{"a name that was found to be this node's", nil, all, nodes("web-0:1"), 2, 5},
		{"one that isn't known yet", nil, nodes("web-1:1"), nodes("web-0:1"), 2, 5},
		{
			"one that takes long to be found out", func(w *world) { w.net.SetDelay(defaultConnectTimeout / 2) },
			nodes("web-1:1"), nodes("web-0:1"), 2, 5,
		},
		{"one that can't be resolved", func(w *world) { w.net.Name("web-0:1") }, all, nodes("web-0:1"), 2, 5},
		{"another", nil, append(all, "web-2:1"), nodes("web-0:1", "web-2:1"), 0, 0},
		{"one of this node and another", nil, append(all, "all:1"), nodes("all:1"), 0, 0},
		{"another that isn't known yet", nil, all, nodes("web-2:1"), 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newNamedWorld(t)
				if tt.before != nil {
					tt.before(w)
				}
				var asked atomic.Int32
				lookup := func(context.Context) ([]Node, error) { asked.Add(1); return tt.then, nil }
				src := newSource()
				w.start([]Topology{{Name: "web", Strategy: src}})
				src.r().Replace(tt.first)
				time.Sleep(defaultRemoveGrace)
				w.apply(Topology{Name: "web", Strategy: Poll(time.Hour, lookup)})
				time.Sleep(defaultRemoveGrace - time.Nanosecond)
				linked := func() bool { return len(w.me.Canonical("web-1:1")) > 0 }
				if more := int(asked.Load()) - 1; !linked() || more < tt.least || more > tt.most {
					t.Errorf("in the grace: linked: %v, asked %d times more; want true, and %d to %d", linked(), more, tt.least, tt.most)
				}
				time.Sleep(time.Nanosecond)
				if synctest.Wait(); linked() {
					t.Error("it is linked after the grace")
				}
			})
		})
	}
}

// TestRule02_OnlyWhoAsksAgainIsWaitedFor: an answer of nobody that won't be given
// again counts once.
func TestRule02_OnlyWhoAsksAgainIsWaitedFor(t *testing.T) {
	tests := []struct {
		name string
		say  func(w *world, src *source)
		held bool // after the grace
	}{
		{"who has asked for the time", func(_ *world, src *source) { src.r().ConfirmWithin(); src.r().Replace(nil) }, true},
		{"and says it again", func(_ *world, src *source) {
			src.r().ConfirmWithin()
			for range 3 {
				src.r().Replace(nil)
			}
		}, false},
		{"who hasn't", func(_ *world, src *source) { src.r().Replace(nil) }, false},
		{"who has no more to say", func(_ *world, src *source) {
			src.r().ConfirmWithin()
			src.r().Replace(nil)
			src.end <- nil
		}, false},
		{"another strategy", func(w *world, src *source) {
			late := src.r()
			late.ConfirmWithin()
			src = newSource()
			w.apply(Topology{Name: "test", Strategy: src})
			late.ConfirmWithin()
			src.r().Replace(nil)
		}, false},
		{"a topology that is gone", func(w *world, src *source) { src.r().ConfirmWithin(); src.r().Replace(nil); w.apply() }, false},
		{"another node that is up", func(_ *world, src *source) { src.r().ConfirmWithin(); src.r().Replace(nodes("b:1")) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a:1", "b:1")
				src := w.startOne()
				src.r().Replace(nodes("a:1"))
				synctest.Wait()
				tt.say(w, src)
				time.Sleep(defaultRemoveGrace - time.Nanosecond)
				linked := func() bool { return len(w.me.Canonical("a:1")) > 0 }
				if !linked() {
					t.Error("it is cut in the grace")
				}
				time.Sleep(time.Hour)
				if linked() != tt.held {
					t.Errorf("linked after the grace: %v, want %v", linked(), tt.held)
				}
			})
		})
	}
}

// TestRule02_AnOwnNameThatStillHasALink: a transport may know a link by a name for
// longer than the name is another's.
func TestRule02_AnOwnNameThatStillHasALink(t *testing.T) {
	c := newTestCore(true)
	w := c.begin("test")
	w.apply(c.now, Change{Kind: Replaced, Nodes: nodes("a:1", "web:1")})
	c.step()
	c.connected(c.now, "web:1", nodes("b:1"), nil)
	c.now = c.now.Add(recheckInterval)
	c.step()
	c.connected(c.now, "web:1", nodes("b:1"), transport.ErrSelf)
	w.apply(c.now, Change{Kind: Replaced, Nodes: nodes("web:1")})
	c.step()
	if got, unconfirmed := w.want("a:1"), w.unconfirmed(c.leads); got != Lingering || unconfirmed {
		t.Errorf("while b:1 is linked: a:1 is %s, unconfirmed: %v; want %s, and false", got, unconfirmed, Lingering)
	}
}

// TestRule02_FuncsThatFindThisNode: without Topology.Self only Connect tells.
func TestRule02_FuncsThatFindThisNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := &funcs{fail: func(op string, n Node) error {
			if op == "Connect" && n == "10.0.0.1:1" {
				return transport.ErrSelf
			}
			return nil
		}}
		var asked atomic.Int32
		poll := Poll(time.Hour, func(context.Context) ([]Node, error) {
			if asked.Add(1) == 1 {
				return nodes("10.0.0.1:1", "10.0.0.2:1"), nil
			}
			return nodes("10.0.0.1:1"), nil
		})
		w.start([]Topology{f.topology("web", poll)})
		time.Sleep(67 * time.Minute)
		synctest.Wait()
		if got := w.sup.Nodes(); len(got) > 0 || asked.Load() < 4 {
			t.Errorf("linked with %v, asked %d times; want nobody after the grace, and 4 or more", got, asked.Load())
		}
	})
}

// A selfish knows its own names, and says so.
type selfish struct{ *memory.Transport }

func (s selfish) Connect(ctx context.Context, n Node) error {
	if n == "web-0:1" {
		return nil
	}
	return s.Transport.Connect(ctx, n)
}

func (s selfish) Canonical(n Node) []Node {
	if n == "web-0:1" || n == "all:1" {
		return append(s.Transport.Canonical(n), s.Self())
	}
	return s.Transport.Canonical(n)
}

func TestRule09_ACanonicalThatNamesThisNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNamedWorld(t)
		src := w.startOne(WithTransport(selfish{w.me}))
		events := w.sup.Events(t.Context())
		src.r().Replace(nodes("web-0:1", "all:1"))
		time.Sleep(time.Hour)
		checkEvents(t, "all but itself", taken(events), Snapshot{}, NodeConnected{Node: "b:1", Topology: "test"})
		for _, n := range w.sup.Status().Topologies[0].Nodes {
			if own := n.Node == "web-0:1"; n.Self != own || n.Connected == own || n.Attempts > 0 {
				t.Errorf("%+v", n)
			}
		}
	})
}
