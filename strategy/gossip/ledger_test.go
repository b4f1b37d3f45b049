package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

func forgedNode(i int) cluster.Node {
	return cluster.Node(fmt.Sprintf("10.%d.%d.%d:4370", 100+i>>16, i>>8&255, i&255))
}

// A forger has a state hear ever new nodes.
type forger struct {
	*talk

	forged int
}

// forge has n nodes be heard within some time, and returns those that were passed
// on.
func (f *forger) forge(n int, within time.Duration) (passed []cluster.Node) {
	for range n {
		f.forged++
		m := message{cluster: "c", nodes: []cluster.Node{forgedNode(f.forged)}, heard: []mention{{instance: instanceA(), period: f.state.period(f.now)}}}
		f.hear(f.now, header{instance: instance{0xff, byte(f.forged), byte(f.forged >> 8)}, counter: 1}, nil, m, origin{})
		passed = append(passed, f.after(within/time.Duration(n)).add...)
	}
	slices.Sort(passed)
	return slices.Compact(passed)
}

// TestMaxNodes has no more nodes be passed on than may be dialled, until some are
// gone.
func TestMaxNodes(t *testing.T) {
	const most = 20
	for name, tt := range map[string]struct {
		play func(f *forger)
		want int // how many more may be passed on then
	}{
		"they are heard no more": {func(f *forger) { f.after(hintLife - time.Minute); f.passed.expire(f.now) }, 0},
		"they are given up":      {func(f *forger) { f.after(hintLife); f.passed.expire(f.now) }, most},
		"one has left": {func(f *forger) {
			f.depart(f.now, f.sender(instance{0xff, 1, 0}))
			f.after(leaveGrace)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := &forger{talk: newTalk()}
			f.passed.limit = most
			if got := f.forge(3*most, time.Second); len(got) != most || !f.passed.turnedAway() || f.passed.turnedAway() {
				t.Fatalf("%d are passed on at first, want %d, and that others aren't to be said once", len(got), most)
			}
			tt.play(f)
			known := len(f.passed.nodes)
			f.forge(3*most, time.Second)
			if got := len(f.passed.nodes) - known; got != tt.want {
				t.Errorf("%d more are passed on, want %d", got, tt.want)
			}
		})
	}
}

// TestMaxNodesKnown has a node that was passed on be so again, though there is no
// room for others, and one that waits be as soon as there is.
func TestMaxNodesKnown(t *testing.T) {
	talk := newTalk()
	talk.passed.limit = 1
	talk.hears(origin{}, false, nodeB)
	talk.after(0)
	wait := message{cluster: "c", nodes: []cluster.Node{nodeC}, heard: []mention{{instance: instanceA(), period: 1}}}
	hear := func() []cluster.Node {
		talk.counter++
		talk.hear(talk.now, header{instance: instance{0xcc}, counter: talk.counter}, nil, wait, origin{})
		return talk.after(0).add
	}
	hear()
	talk.after(time.Minute)
	talk.hears(origin{}, false, nodeB)
	if got := talk.after(0).add; !slices.Equal(got, []cluster.Node{nodeB}) {
		t.Errorf("%q is told when B is heard again, want only B", got)
	}
	if got := hear(); got != nil {
		t.Errorf("%q is told though there is no room", got)
	}
	talk.hears(origin{}, true, nodeB)
	talk.after(leaveGrace)
	if got := hear(); !slices.Equal(got, []cluster.Node{nodeC}) {
		t.Errorf("%q is told when B has left, want C", got)
	}
}

// A wall is a transport by which nobody can be reached.
type wall struct{ dials atomic.Int64 }

func (*wall) Self() cluster.Node { return nodeA }

func (w *wall) Connect(context.Context, cluster.Node) error {
	w.dials.Add(1)
	return errors.New("connection refused")
}

func (*wall) Disconnect(context.Context, cluster.Node) error    { return nil }
func (*wall) ListNodes(context.Context) ([]cluster.Node, error) { return nil, nil }

// TestForgedDials has somebody who forges 100 new nodes a second in an insecure
// cluster, for longer than a hint lives, have no more dialled than MaxNodes says,
// and one line be logged of that in ten minutes.
func TestForgedDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			most   = 60
			rate   = most / 12 // dials a second
			before = 10 * time.Second
			during = 20 * time.Minute
		)
		e, w := &ether{}, &wall{}
		var out bytes.Buffer
		s := etherStrategy{Strategy{Insecure: true, MaxNodes: most}, e}
		sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: s}},
			cluster.WithTransport(w), cluster.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		victim, err := parseHeader(e.packets()[0])
		if err != nil {
			t.Fatal(err)
		}
		f := 0
		forge := func(d time.Duration) {
			for range d / (10 * time.Millisecond) {
				f++
				period := uint32((time.Duration(f)*10*time.Millisecond+time.Second)/period) + 1
				e.inject(seal(nil, instance{0xff, byte(f), byte(f >> 8), byte(f >> 16)}, 1, message{
					period: 1, cluster: defaultCluster, nodes: []cluster.Node{forgedNode(f)},
					heard: []mention{{instance: victim.instance, period: period}},
				}))
				time.Sleep(10 * time.Millisecond)
			}
		}
		forge(before)
		if n := len(sup.Status().Topologies[0].Nodes); n != most {
			t.Fatalf("%d nodes are hinted at, want %d", n, most)
		}
		first := w.dials.Load()
		forge(during)
		if got := (w.dials.Load() - first) / int64(during/time.Second); got < 1 || got > 2*rate {
			t.Errorf("%d nodes are dialled a second, want about %d", got, rate)
		}
		t.Logf("%.1f dials a second", float64(w.dials.Load()-first)/during.Seconds())
		sup.Stop()
		if err := sup.Wait(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.String(), "MaxNodes"); n < 1 || n > 3 {
			t.Errorf("%d lines in %s say that there are too many, want 1 to 3:\n%s", n, before+during, out.String())
		}
	})
}
