package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/strategytest"
)

const (
	nodeA cluster.Node = "10.0.0.1:4370"
	nodeB cluster.Node = "10.0.0.2:4370"
	nodeC cluster.Node = "10.0.0.3:4370"
)

func numbered(n int) (nodes []cluster.Node) {
	for i := range n {
		nodes = append(nodes, cluster.Node(fmt.Sprintf("10.0.%d.%d:4370", i/250, i%250+1)))
	}
	return nodes
}

// TestConformanceFaults is over a network that can be broken.
func TestConformanceFaults(t *testing.T) {
	strategytest.Test(t, strategytest.Harness{
		New: func(tb testing.TB, nodes ...cluster.Node) strategytest.Source {
			tb.Helper()
			e := &ether{}
			s := etherStrategy{Strategy{Secrets: []string{secretA}, Interval: 50 * time.Millisecond}, e}
			stops := map[cluster.Node]func(){}
			set := func(nodes ...cluster.Node) {
				for _, n := range nodes {
					if stops[n] == nil {
						ctx, cancel := context.WithCancel(context.Background())
						done := make(chan error)
						go func() { done <- s.Run(ctx, cluster.NewRoster(n, nil, func(cluster.Change) {})) }()
						stops[n] = func() { cancel(); <-done }
					}
				}
				for n, stop := range stops {
					if !slices.Contains(nodes, n) {
						stop()
						delete(stops, n)
					}
				}
			}
			tb.Cleanup(func() { set() })
			set(nodes...)
			return strategytest.Source{Strategy: s, Set: set, Faults: map[string]strategytest.Fault{
				"nothing can be sent": {
					Break: func() { e.set(func(e *ether) { e.broken = errBroken }) },
					Mend:  func() { e.set(func(e *ether) { e.broken = nil }) },
				},
			}}
		},
		Hints:  true,
		Bubble: true,
	})
}

// TestNewcomer has one know everybody within a second of its start, and be known
// by them, and all of a crowd that starts together.
func TestNewcomer(t *testing.T) {
	for name, crowd := range map[string]int{"alone with one": 1, "with 20": 20, "with 99": 99} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				all := numbered(crowd)
				var listeners []*listener
				for _, n := range all {
					listeners = append(listeners, e.listen(t, n))
				}
				time.Sleep(time.Minute + 300*time.Millisecond)
				for _, l := range listeners {
					l.mustKnow(time.Second, all...)
				}
				newcomer := e.listen(t, "10.9.9.9:4370")
				time.Sleep(time.Second)
				newcomer.mustKnow(time.Second, all...)
				for _, l := range listeners {
					l.mustKnow(time.Minute+1300*time.Millisecond, newcomer.self)
				}
			})
		})
	}
}

// TestLoss has all find each other though many packets are lost.
func TestLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		lost float64
		by   time.Duration
	}{"30 %": {0.3, 30 * time.Second}, "60 %": {0.6, 5 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				e := &ether{carries: func(_, _ cluster.Node) bool { return random.Float64() >= tt.lost }}
				all := numbered(10)
				var listeners []*listener
				for _, n := range all {
					listeners = append(listeners, e.listen(t, n))
				}
				time.Sleep(tt.by)
				for _, l := range listeners {
					l.mustKnow(tt.by, all...)
					if gone := l.removed(); gone != nil {
						t.Errorf("%s has removed %q", l.self, gone)
					}
				}
			})
		})
	}
}

// TestSilence has a node that falls silent never be removed, and no longer be
// reported as heard, and be told at once when it is heard again.
func TestSilence(t *testing.T) {
	for _, silence := range []time.Duration{time.Minute, time.Hour} { // while it is remembered, and after that
		t.Run(silence.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				a := e.listen(t, nodeA)
				e.listen(t, nodeB)
				time.Sleep(time.Second + time.Millisecond)
				a.mustKnow(time.Second, nodeB)
				e.set(func(e *ether) { e.carries = func(from, to cluster.Node) bool { return from == to } })
				time.Sleep(silence)
				reports := a.told(cluster.Added)
				if last := reports[len(reports)-1]; len(last.Nodes) != 0 {
					t.Errorf("after %s of silence %q is reported as heard", silence, last.Nodes)
				}
				if gone := a.removed(); gone != nil || a.told(cluster.Failed) != nil {
					t.Errorf("silence has removed %q, or is a failure", gone)
				}
				e.set(func(e *ether) { e.carries = nil })
				e.listen(t, nodeB) // it announces itself at once
				time.Sleep(time.Second)
				again := a.told(cluster.Added)[len(reports):]
				if !slices.ContainsFunc(again, func(c told) bool { return slices.Contains(c.Nodes, nodeB) }) {
					t.Errorf("heard again, it isn't told at once: %v", again)
				}
			})
		})
	}
}

// TestFarewell has a node be removed when it leaves, and only then.
func TestFarewell(t *testing.T) {
	for name, tt := range map[string]struct {
		play func(t *testing.T, e *ether, b *listener)
		want []cluster.Node
	}{
		"it leaves": {func(_ *testing.T, _ *ether, b *listener) { b.stop() }, []cluster.Node{nodeB}},
		"it is cut": {func(_ *testing.T, e *ether, _ *listener) { e.set(func(e *ether) { e.links = e.links[:1] }) }, nil},
		"it stays":  {func(*testing.T, *ether, *listener) {}, nil},
		"its strategy is changed": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			e.listen(t, nodeB, func(s *Strategy) { s.Interval = time.Second })
		}, nil},
		"it starts again at once": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			time.Sleep(time.Second)
			e.listen(t, nodeB)
		}, nil},
		"it starts again later": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			time.Sleep(3 * time.Second)
			e.listen(t, nodeB)
		}, []cluster.Node{nodeB}},
		"its successor is up": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			e.listen(t, nodeB)
			time.Sleep(10 * time.Second)
			b.mustKnow(time.Minute, nodeA)
			mend := e.cut(1)
			time.Sleep(10 * time.Second) // only the successor is heard
			mend()
			b.stop()
		}, nil},
		"one of two leaves, and was heard last": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			e.listen(t, nodeB)
			time.Sleep(10 * time.Second)
			mend := e.cut(2)
			time.Sleep(defaultInterval * 13 / 10) // which is more than a heartbeat
			b.stop()
			time.Sleep(2 * leaveGrace)
			mend()
		}, nil},
		"one of two leaves, and the other after it": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			other := e.listen(t, nodeB)
			time.Sleep(10 * time.Second)
			b.stop()
			other.stop()
		}, []cluster.Node{nodeB}},
		"another name is up at its address": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			e.listen(t, "new@"+nodeB)
		}, nil},
		"another name leaves its address, too": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			renamed := e.listen(t, "new@"+nodeB)
			time.Sleep(10 * time.Second)
			renamed.stop()
		}, []cluster.Node{nodeB, "new@" + nodeB}},
		"another leaves that was there before": {func(t *testing.T, e *ether, b *listener) {
			t.Helper()
			b.stop()
			e.listen(t, nodeB)
			time.Sleep(10 * time.Second)
			for _, p := range e.packets() { // its farewell, and all else, once more
				e.inject(p)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				a := e.listen(t, nodeA)
				synctest.Wait()
				b := e.listen(t, nodeB)
				time.Sleep(10 * time.Second)
				a.mustKnow(time.Second, nodeB)
				tt.play(t, e, b)
				time.Sleep(time.Minute)
				if gone := a.removed(); !slices.Equal(gone, tt.want) {
					t.Errorf("%q is removed, want %q", gone, tt.want)
				}
			})
		})
	}
}

// TestReplay has recordings be worth nothing, to a node that hears them for the
// first time as well.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{}
		a := e.listen(t, nodeA)
		b, c := e.listen(t, nodeB), e.listen(t, nodeC)
		time.Sleep(time.Minute)
		e.set(func(e *ether) { e.links = e.links[:1] }) // B and C are dead, and say no farewell
		recorded := e.packets()
		b.stop()
		c.stop()
		a.stop()

		stats := new(Stats)
		again := e.listen(t, nodeA, func(s *Strategy) { s.Stats = stats })
		time.Sleep(time.Second)
		sent := stats.Sent.Load()
		const long = 20 * time.Second
		for range long / time.Second {
			for _, p := range recorded {
				e.inject(p)
			}
			time.Sleep(time.Second)
		}
		again.mustNotKnow(nodeB, nodeC)
		if stats.Repeated.Load() == 0 {
			t.Error("no packet is counted as repeated")
		}
		if n := stats.Sent.Load() - sent; n > int64(long/minGap)+10 {
			t.Errorf("%d packets answer the recordings in %s", n, long)
		}
	})
}

// TestReplayForgotten has the recordings of one that left be worth nothing once
// it is forgotten either, to those that heard them when they were new.
func TestReplayForgotten(t *testing.T) {
	for name, successor := range map[string]func(t *testing.T, e *ether){
		"nobody is there": func(*testing.T, *ether) {},
		"its successor is up": func(t *testing.T, e *ether) {
			t.Helper()
			e.listen(t, nodeB)
		},
		"its successor is not heard": func(t *testing.T, e *ether) {
			t.Helper()
			e.listen(t, nodeB)
			time.Sleep(10 * time.Second)
			e.cut(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				a := e.listen(t, nodeA)
				time.Sleep(time.Second)
				b := e.listen(t, nodeB)
				time.Sleep(time.Minute)
				b.stop()
				recorded := e.packets()
				time.Sleep(10 * time.Second)
				successor(t, e)
				time.Sleep(forgetAfter + time.Minute)
				added, removed := len(a.told(cluster.Added)), len(a.removed())
				for _, p := range recorded {
					e.inject(p)
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Minute)
				if gone := a.removed()[removed:]; len(gone) > 0 {
					t.Errorf("%q is removed", gone)
				}
				heard := slices.ContainsFunc(a.told(cluster.Added)[added:], func(c told) bool { return slices.Contains(c.Nodes, nodeB) })
				if want := name == "its successor is up"; heard != want {
					t.Errorf("B is told as heard: %t, want %t", heard, want)
				}
			})
		})
	}
}

// TestStrangers has packets of others be dropped, and counted.
func TestStrangers(t *testing.T) {
	for name, tt := range map[string]struct {
		ours, theirs func(*Strategy)
		count        func(*Stats) int64
	}{
		"another cluster":         {nil, func(s *Strategy) { s.Cluster = "other" }, func(s *Stats) int64 { return s.Foreign.Load() }},
		"another secret":          {nil, func(s *Strategy) { s.Secrets = []string{secretB} }, func(s *Stats) int64 { return s.Forged.Load() }},
		"an insecure one":         {nil, func(s *Strategy) { s.Secrets, s.Insecure = nil, true }, func(s *Stats) int64 { return s.Forged.Load() }},
		"a secret to an insecure": {func(s *Strategy) { s.Secrets, s.Insecure = nil, true }, nil, func(s *Stats) int64 { return s.Forged.Load() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				none := func(*Strategy) {}
				if tt.ours == nil {
					tt.ours = none
				}
				if tt.theirs == nil {
					tt.theirs = none
				}
				e := &ether{}
				stats := new(Stats)
				counted := func(s *Strategy) { s.Stats = stats }
				a, b := e.listen(t, nodeA, tt.ours, counted), e.listen(t, nodeB, tt.theirs)
				friend := e.listen(t, nodeC, tt.ours)
				time.Sleep(time.Minute)
				a.mustNotKnow(nodeB)
				b.mustNotKnow(nodeA, nodeC)
				a.mustKnow(time.Second, nodeC)
				friend.mustKnow(time.Second, nodeA)
				if n := tt.count(stats); n == 0 {
					t.Error("nothing is counted")
				}
			})
		})
	}
}

// TestRotationOfNodes has nodes of any two neighbouring steps find each other.
func TestRotationOfNodes(t *testing.T) {
	old, both, fresh := []string{secretA}, []string{secretB, secretA}, []string{secretB}
	for name, pair := range map[string][2][]string{"first step": {old, both}, "between": {both, both}, "second step": {both, fresh}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				a := e.listen(t, nodeA, func(s *Strategy) { s.Secrets = pair[0] })
				b := e.listen(t, nodeB, func(s *Strategy) { s.Secrets = pair[1] })
				time.Sleep(time.Second)
				a.mustKnow(time.Second, nodeB)
				b.mustKnow(time.Second, nodeA)
			})
		})
	}
}

// TestMaxNewNodes has a crowd that comes at once be passed on bit by bit.
func TestMaxNewNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{}
		a := e.listen(t, nodeA, func(s *Strategy) { s.MaxNewNodes = 10 })
		crowd := numbered(60)[10:]
		for _, n := range crowd {
			e.listen(t, n)
		}
		time.Sleep(10 * time.Second)
		a.mustKnow(6*time.Second, crowd...)
		fresh := make([]int, 10) // by second
		for _, n := range crowd {
			at, _ := a.knows(n)
			fresh[at/time.Second]++
		}
		for second, n := range fresh {
			if most := 10; n > most && second > 0 || n > 2*most {
				t.Errorf("in second %d there are %d new nodes, want at most %d a second after the first ones: %v", second, n, most, fresh)
			}
		}
	})
}

// TestRecovers has a network that takes no packets be a failure at once, and one
// that takes them again be an answer within about a second.
func TestRecovers(t *testing.T) {
	for name, others := range map[string][]cluster.Node{"alone": nil, "with another": {nodeB}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{}
				a := e.listen(t, nodeA)
				for _, n := range others {
					e.listen(t, n)
				}
				time.Sleep(time.Minute)
				e.set(func(e *ether) { e.broken = errBroken })
				time.Sleep(defaultInterval * 3 / 2)
				failures := a.told(cluster.Failed)
				if len(failures) == 0 || !errors.Is(failures[0].Err, errBroken) {
					t.Fatalf("it tells %v, want that it is broken", failures)
				}
				time.Sleep(time.Minute)
				before := len(a.told(cluster.Added))
				e.set(func(e *ether) { e.broken = nil })
				time.Sleep(2 * refreshFailing) // no report is due
				answers := a.told(cluster.Added)[before:]
				if len(answers) == 0 {
					t.Error("it doesn't tell that it is well again")
				}
				for _, n := range others {
					if !slices.ContainsFunc(answers, func(c told) bool { return slices.Contains(c.Nodes, n) }) {
						t.Errorf("it doesn't know %s again: %v", n, answers)
					}
				}
				if gone := a.removed(); gone != nil {
					t.Errorf("%q is removed", gone)
				}
			})
		})
	}
}

// TestNobody has a node that hears nobody say so.
func TestNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := (&ether{}).listen(t, nodeA)
		time.Sleep(firstReport)
		synctest.Wait()
		if all := a.told(cluster.Added); len(all) != 1 || len(all[0].Nodes) != 0 || all[0].at != firstReport {
			t.Errorf("it tells %v, want one answer of nobody after %s", all, firstReport)
		}
	})
}

// TestWhere has a node be known by the one of its addresses that is of use.
func TestWhere(t *testing.T) {
	v4, v6, local, name := nodeB, cluster.Node("[2001:db8::1]:4370"), cluster.Node("127.0.0.1:4370"), cluster.Node("web-1:4370")
	for label, tt := range map[string]struct {
		nodes []cluster.Node
		from  origin
		want  cluster.Node
	}{
		"by IPv4":                     {[]cluster.Node{v6, v4}, origin{}, v4},
		"by IPv6":                     {[]cluster.Node{v4, v6}, origin{ipv6: true}, v6},
		"only of the other family":    {[]cluster.Node{v6}, origin{}, v6},
		"a name":                      {[]cluster.Node{name, v4}, origin{}, name},
		"a name after an address":     {[]cluster.Node{v4, name}, origin{}, v4},
		"this machine's":              {[]cluster.Node{local}, origin{local: true}, local},
		"another machine's loopback":  {[]cluster.Node{local}, origin{}, ""},
		"another machine's localhost": {[]cluster.Node{"localhost:4370"}, origin{}, ""},
		"loopback and an address":     {[]cluster.Node{"[::1]:4370", local, v4}, origin{}, v4},
	} {
		t.Run(label, func(t *testing.T) {
			if got := pick(tt.nodes, tt.from); got != tt.want {
				t.Errorf("it is known as %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAdvertise has others know a node by what it advertises.
func TestAdvertise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{}
		a := e.listen(t, nodeA)
		e.listen(t, "", func(s *Strategy) { s.Advertise = []cluster.Node{"Web@10.0.0.7:4370"} })
		time.Sleep(time.Second)
		a.mustKnow(time.Second, "Web@10.0.0.7:4370")
	})
}

// TestSelf has none of a node's own addresses be told to it, though another Run of
// it is heard by them.
func TestSelf(t *testing.T) {
	const second cluster.Node = "[2001:db8::1]:4370"
	for name, from := range map[string]origin{"by IPv4": {}, "by IPv6": {ipv6: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &ether{origin: from}
				both := func(s *Strategy) { s.Advertise = []cluster.Node{nodeA, second} }
				a := e.listen(t, nodeA, both)
				e.listen(t, nodeA, both)
				e.listen(t, nodeB)
				time.Sleep(time.Minute)
				a.mustNotKnow(nodeA, second)
				a.mustKnow(time.Second, nodeB)
			})
		})
	}
}

// TestNameless has a node without a name say what is missing.
func TestNameless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := etherStrategy{Strategy{Secrets: []string{secretA}}, &ether{}}
		err := s.Run(t.Context(), cluster.NewRoster("", nil, func(cluster.Change) {}))
		if err == nil || !strings.Contains(err.Error(), "set Advertise") {
			t.Errorf("Run returns %v", err)
		}
	})
}

// A deafLink can't receive.
type deafLink struct{ *etherLink }

func (deafLink) receive([]byte) (int, origin, error) { return 0, origin{}, errBroken }

// TestDeaf has a Run that can hear nothing end, so that it is started again.
func TestDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Strategy{Secrets: []string{secretA}}.withDefaults()
		r := cluster.NewRoster(nodeA, nil, func(cluster.Change) {})
		if err := s.run(t.Context(), r, []link{deafLink{(&ether{}).open(nodeA)}}); !errors.Is(err, errBroken) {
			t.Errorf("run returns %v, want %v", err, errBroken)
		}
	})
}

// TestBounds has no number of senders make the state grow without end, though
// all are believed.
func TestBounds(t *testing.T) {
	now := time.Unix(0, 0)
	me := instance{1}
	const maxNodes = 2000
	s := newState(now, me, []cluster.Node{nodeA}, Strategy{MaxNodes: maxNodes}.withDefaults(), rand.Float64)
	for i := range 100_000 {
		id := instance{2, byte(i), byte(i >> 8), byte(i >> 16)}
		m := message{cluster: "c", nodes: []cluster.Node{cluster.Node(fmt.Sprintf("10.%d.%d.%d:4370", 1+i>>16, i>>8&255, i&255))}}
		switch i % 4 {
		case 1, 2:
			m.heard = []mention{{me, 1, true}}
		case 3:
			id[1]-- // the one before
			m.leaving = true
		}
		s.hear(now, header{instance: id, counter: uint64(i + 1)}, nil, m, origin{})
		if i%100 == 0 {
			now = now.Add(10 * time.Millisecond)
			s.step(now)
		}
	}
	for what, n := range map[string][2]int{
		"proven senders":   {s.proven.len(), maxProven},
		"unproven senders": {s.unproven.len(), maxUnproven},
		"places":           {len(s.places), 2 * maxProven},
		"untold nodes":     {len(s.untold), 4 * maxProven},
		"nodes passed on":  {len(s.passed.nodes), maxNodes},
		"departures":       {len(s.departures), maxLeaving},
		"mentions owed":    {len(s.owed), maxOwed},
	} {
		if n[0] > n[1] || n[0] == 0 {
			t.Errorf("there are %d %s, want 1 to %d", n[0], what, n[1])
		}
	}
	s.step(now.Add(forgetAfter))
	if n := s.proven.len() + s.unproven.len() + len(s.places); n != 0 {
		t.Errorf("after %s of silence %d are remembered", forgetAfter, n)
	}
}
