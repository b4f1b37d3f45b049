package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// A talk is a state that hears one other instance, which mentions it.
type talk struct {
	*state

	now     time.Time
	counter uint64
}

func newTalk() *talk {
	now := time.Unix(0, 0)
	return &talk{state: newState(now, instanceA(), []cluster.Node{nodeA}, Strategy{}.withDefaults(), func() float64 { return 0.5 }), now: now}
}

func (t *talk) hears(from origin, leaving bool, nodes ...cluster.Node) {
	t.counter++
	m := message{leaving: leaving, cluster: "c", nodes: nodes, heard: []mention{{instance: instanceA()}}}
	t.hear(t.now, header{instance: instanceB(), counter: t.counter}, nil, m, from)
}

// after returns what is due some time later.
func (t *talk) after(d time.Duration) todo {
	t.now = t.now.Add(d)
	return t.step(t.now)
}

// TestDualStack has a node of two families be known by both of its addresses if
// it is heard by both, and both be given up when it leaves.
func TestDualStack(t *testing.T) {
	const v4, v6 cluster.Node = nodeB, "[2001:db8::2]:4370"
	for name, tt := range map[string]struct {
		from []origin
		want []cluster.Node
	}{
		"heard by IPv4": {[]origin{{}}, []cluster.Node{v4}},
		"heard by IPv6": {[]origin{{ipv6: true}}, []cluster.Node{v6}},
		"heard by both": {[]origin{{}, {ipv6: true}, {}}, []cluster.Node{v4, v6}},
	} {
		t.Run(name, func(t *testing.T) {
			talk := newTalk()
			for _, from := range tt.from {
				talk.hears(from, false, v4, v6)
			}
			if got := talk.after(0).add; !slices.Equal(got, tt.want) {
				t.Errorf("it is known as %q, want %q", got, tt.want)
			}
			talk.hears(origin{}, true, v4, v6)
			if early := talk.after(leaveGrace - 1).remove; early != nil {
				t.Errorf("%q is removed before the grace ends", early)
			}
			if got := talk.after(1).remove; !slices.Equal(got, tt.want) {
				t.Errorf("%q is removed, want %q", got, tt.want)
			}
		})
	}
}

// TestInherits has a place outlive the one that leaves it if somebody else was
// heard there lately, though not last, who may leave it then.
func TestInherits(t *testing.T) {
	const lately = missedHeartbeats * defaultInterval
	left := []cluster.Node{nodeB}
	alive := []mention{{instance: instanceA()}}
	const renamed = "b@" + nodeB
	for name, tt := range map[string]struct {
		other message
		ago   time.Duration // before the farewell counts, when the other was heard
		want  []cluster.Node
		then  []cluster.Node // when the other leaves
	}{
		"heard lately":          {message{nodes: left, heard: alive}, lately, nil, left},
		"silent for too long":   {message{nodes: left, heard: alive}, lately + 1, left, nil},
		"not proven":            {message{nodes: left}, lately, left, nil},
		"heard somewhere else":  {message{nodes: []cluster.Node{nodeC}, heard: alive}, lately, left, nil},
		"heard by another name": {message{nodes: []cluster.Node{renamed}, heard: alive}, lately, nil, []cluster.Node{renamed, nodeB}},
	} {
		t.Run(name, func(t *testing.T) {
			talk := newTalk()
			other := instance{0xcc}
			talk.hear(talk.now, header{instance: other, counter: 1}, nil, tt.other, origin{})
			talk.after(tt.ago - leaveGrace)
			talk.hears(origin{}, false, nodeB)
			talk.after(0) // it is told
			talk.hears(origin{}, true, nodeB)
			if got := talk.after(leaveGrace).remove; !slices.Equal(got, tt.want) {
				t.Fatalf("%q is removed, want %q", got, tt.want)
			}
			if tt.want != nil {
				return
			}
			talk.hear(talk.now, header{instance: other, counter: 2}, nil, message{leaving: true, nodes: tt.other.nodes}, origin{})
			if got := talk.after(leaveGrace).remove; !slices.Equal(got, tt.then) {
				t.Errorf("when the other leaves %q is removed, want %q", got, tt.then)
			}
			if len(talk.places)+len(talk.passed.nodes) != 0 {
				t.Errorf("%v and %v are remembered", talk.places, talk.passed.nodes)
			}
		})
	}
}

// TestLate has packets that come after a farewell, which was sent later, change
// nothing.
func TestLate(t *testing.T) {
	talk := newTalk()
	talk.hears(origin{}, false, nodeB)
	talk.after(0)
	talk.counter += 2
	talk.hears(origin{}, true, nodeB)
	talk.hears(origin{}, true, nodeB) // the second farewell
	talk.counter -= 3
	talk.hears(origin{}, false, nodeB, nodeC)
	talk.hears(origin{ipv6: true}, false, nodeC)
	if got := talk.after(leaveGrace); !slices.Equal(got.remove, []cluster.Node{nodeB}) || got.add != nil {
		t.Errorf("%q is told and %q removed, want only %q to be removed", got.add, got.remove, nodeB)
	}
	if got := talk.after(time.Hour); got.add != nil || got.remove != nil {
		t.Errorf("later %q is told and %q removed", got.add, got.remove)
	}
}

// TestLeftLong has one that left be remembered to have left for as long after
// that as any packet of it may prove it again.
func TestLeftLong(t *testing.T) {
	talk := newTalk()
	talk.hears(origin{}, false, nodeB)
	talk.after(forgetAfter - time.Second)
	talk.hears(origin{}, true, nodeB)
	talk.after(forgetAfter - 1)
	if p := talk.sender(instanceB()); p == nil || !p.left {
		t.Errorf("just before %s have passed it is remembered as %+v, want that it has left", forgetAfter, p)
	}
	talk.after(1)
	if p := talk.sender(instanceB()); p != nil {
		t.Errorf("after %s it is still remembered", forgetAfter)
	}
}

// TestProves has a sender be remembered once, as proven from the moment at which
// it has mentioned us.
func TestProves(t *testing.T) {
	talk := newTalk()
	talk.hear(talk.now, header{instance: instanceB(), counter: 1}, nil, message{cluster: "c", nodes: []cluster.Node{nodeB}}, origin{})
	if talk.proven.len() != 0 || talk.unproven.len() != 1 || len(talk.places) != 0 {
		t.Errorf("heard, but not proven: %d proven, %d unproven, %d places", talk.proven.len(), talk.unproven.len(), len(talk.places))
	}
	talk.counter = 1
	talk.hears(origin{}, false, nodeB)
	if talk.proven.len() != 1 || talk.unproven.len() != 0 || len(talk.places) != 1 {
		t.Errorf("proven: %d proven, %d unproven, %d places", talk.proven.len(), talk.unproven.len(), len(talk.places))
	}
}

// TestPeriods has a mention prove something in the period that it names and in
// the next one.
func TestPeriods(t *testing.T) {
	for name, tt := range map[string]struct {
		at     time.Duration // after the start
		period uint32
		want   bool
	}{
		"at once":               {0, 1, true},
		"the first, at its end": {period - 1, 1, true},
		"the one before":        {2*period - 1, 1, true},
		"the one before that":   {2 * period, 1, false},
		"one to come":           {period - 1, 2, false},
		"much later":            {1000*period + 1, 1001, true},
		"long ago":              {1000*period + 1, 999, false},
	} {
		t.Run(name, func(t *testing.T) {
			talk := newTalk()
			m := message{cluster: "c", nodes: []cluster.Node{nodeB}, heard: []mention{{instanceA(), tt.period, false}}}
			talk.hear(talk.now.Add(tt.at), header{instance: instanceB(), counter: 1}, nil, m, origin{})
			if got := talk.proven.len() == 1; got != tt.want {
				t.Errorf("it is proven: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestMoves has an instance that says another node each time be known by the
// latest, and not make what is remembered grow.
func TestMoves(t *testing.T) {
	talk := newTalk()
	var last cluster.Node
	for i := range 100_000 {
		last = cluster.Node(fmt.Sprintf("10.%d.%d.1:4370", 1+i>>8&127, i&255))
		talk.hears(origin{}, false, last)
	}
	if len(talk.places) != 1 || len(talk.untold) > 4*maxProven {
		t.Errorf("there are %d places and %d untold nodes, want 1 and at most %d", len(talk.places), len(talk.untold), 4*maxProven)
	}
	if got := talk.after(0).add; !slices.Equal(got, []cluster.Node{last}) {
		t.Errorf("it is known as %q, want %q", got, last)
	}
}

// TestSelfHeard has this node's own address not be told, whoever says it.
func TestSelfHeard(t *testing.T) {
	talk := newTalk()
	talk.hears(origin{}, false, "other@"+nodeA)
	if got := talk.after(0).add; got != nil {
		t.Errorf("%q is told", got)
	}
}

// TestAnnounces has packets be due at once and then less and less often, until
// it is once an interval.
func TestAnnounces(t *testing.T) {
	talk := newTalk()
	var at []time.Duration
	for began := talk.now; talk.now.Sub(began) < 15*time.Second; talk.now = talk.next() {
		if talk.after(0).send {
			at = append(at, talk.now.Sub(began))
		}
	}
	var want []time.Duration
	for _, ms := range []int{0, 100, 300, 700, 1500, 3100, 6300, 11300} {
		want = append(want, time.Duration(ms)*time.Millisecond)
	}
	if !slices.Equal(at, want) {
		t.Errorf("they are due after %s, want %s", at, want)
	}
	talk.announce(talk.now)
	if do := talk.after(0); !do.send || talk.next().Sub(talk.now) > firstGap {
		t.Errorf("after a new interface has come, %+v is due, and next after %s", do, talk.next().Sub(talk.now))
	}
}

// TestAnswers has what is owed be said together, and not more often than every
// minGap.
func TestAnswers(t *testing.T) {
	talk := newTalk()
	talk.after(0) // the first announcement
	var answers []time.Duration
	began := talk.now
	for range 100 { // one newcomer every 10 ms
		talk.counter++
		talk.hear(talk.now, header{instance: instance{byte(talk.counter)}, counter: 1}, nil, message{cluster: "c", nodes: []cluster.Node{nodeB}}, origin{})
		if talk.after(10*time.Millisecond).send && len(talk.mentions(talk.now, 100)) > 0 {
			answers = append(answers, talk.now.Sub(began))
		}
	}
	if len(answers) < 5 || len(answers) > 14 {
		t.Errorf("in a second there are %d answers, want about 10 and a few heartbeats: %s", len(answers), answers)
	}
}

// TestReminds has a heartbeat ask those again that haven't mentioned us, as long
// as they are heard.
func TestReminds(t *testing.T) {
	talk := newTalk()
	talk.hear(talk.now, header{instance: instanceB(), counter: 1}, nil, message{period: 7, cluster: "c", nodes: []cluster.Node{nodeB}}, origin{})
	ask := []mention{{instanceB(), 7, true}}
	for _, when := range []string{"in the answer", "in the next heartbeat", "in the one after that"} {
		for !talk.after(time.Millisecond).send {
		}
		if got := talk.mentions(talk.now, 100); !slices.Equal(got, ask) {
			t.Errorf("%s it mentions %v, want %v", when, got, ask)
		}
	}
	talk.after(time.Minute)
	if got := talk.mentions(talk.now, 100); len(got) != 0 {
		t.Errorf("after a minute of silence it still mentions %v", got)
	}
}

// TestBucket has no more pass than may.
func TestBucket(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBucket(now, 10)
	passed := func(until time.Duration) (n int) {
		for end := time.Unix(0, 0).Add(until); !now.After(end); now = b.next() {
			for b.take(now) {
				n++
			}
		}
		return n
	}
	if n := passed(0); n != 10 {
		t.Errorf("%d pass at once, want 10", n)
	}
	if n := passed(10 * time.Second); n < 98 || n > 100 {
		t.Errorf("%d pass in 10 seconds after that, want 100", n)
	}
	now = now.Add(time.Hour)
	n := 0
	for b.take(now) {
		n++
	}
	if n != 10 {
		t.Errorf("%d pass after an hour, want 10", n)
	}
}
