package cluster

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// TestOracle runs random sequences on the pure core, and checks each step
// against what a history says and against what must always hold.
func TestOracle(t *testing.T) {
	const sequences = 1000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(sequences) {
		rng := rand.New(rand.NewPCG(seed, i))
		data := make([]byte, 60+rng.IntN(300))
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		if err := simulate(data); err != nil {
			t.Fatalf("seed %d, sequence %d: %v", seed, i, err)
		}
	}
}

// FuzzReconcile is TestOracle with sequences that a fuzzer makes.
func FuzzReconcile(f *testing.F) {
	f.Add([]byte("a topology that wants and one that does not"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 400 {
			t.Skip("too long for a history that is read anew for each question")
		}
		if err := simulate(data); err != nil {
			t.Fatal(err)
		}
	})
}

const (
	simSelf  = Node("me:1")
	simMoved = Node("c:1") // what a name of this node's own stands for at times
)

// A sim is a transport and the world around it, without a goroutine or a clock,
// that does to a core what the bytes of a sequence say.
type sim struct {
	data []byte
	now  time.Time
	core *core

	topologies []*simTopology
	universe   []Node          // every node that there is, and every name
	names      map[Node][]Node // what the names stand for that are no node's own

	// The world.
	links map[Node]bool
	ours  map[Node]bool // links that must be cut when nobody wants them
	dials map[Node]*simDial
	cuts  map[Node]bool

	wants map[Node][]Want // of the topologies, as their histories say

	// What the core has been told, and has told.
	reports int          // from 1
	told    map[Node]int // links, and by which report
	gone    map[Node]int // cut links, and by which report
	stands  map[Node][]Node
	leads   map[Node]lead // as far as it knows
	failed  map[Node]bool // targets whose latest attempt was in vain
	shown   map[Node]bool // by events
	asked   *simListing
	wake    time.Time

	steps int
	trace []string
	err   error
}

type simTopology struct {
	wants   *wants
	roster  *Roster
	history history
}

type simDial struct{ cancelled bool }

type simListing struct {
	listing
	report int
}

func simulate(data []byte) error {
	s := &sim{
		data: data, now: time.Unix(1_000_000, 0),
		links: map[Node]bool{}, ours: map[Node]bool{}, dials: map[Node]*simDial{}, cuts: map[Node]bool{}, wants: map[Node][]Want{},
		reports: 1, told: map[Node]int{}, gone: map[Node]int{}, stands: map[Node][]Node{}, leads: map[Node]lead{}, failed: map[Node]bool{}, shown: map[Node]bool{},
	}
	o := options{removeGrace: defaultRemoveGrace, hintTTL: defaultHintTTL, reconcileInterval: defaultReconcileInterval, maxConnects: 2 + s.pick(4)}
	if s.pick(4) == 0 {
		o.removeGrace = 0
	}
	s.core = newCore(&o, s.pick(2) == 0, func() float64 { return float64(s.pick(256)+1) / 257 })
	s.names = map[Node][]Node{"me-too:1": {}}
	if s.core.aliases {
		s.names["web:1"], s.names["bob:1"] = nodes("a:1", "b:1"), nodes("c:1")
	}
	s.universe = slices.Concat(simNodes(), slices.Sorted(maps.Keys(s.names)))
	for i := range 1 + s.pick(3) {
		s.begin(fmt.Sprintf("t%d", i))
	}
	s.step()
	for len(s.data) > 0 && s.err == nil {
		s.act()
		if s.pick(4) > 0 {
			s.step()
		}
	}
	s.converge()
	if s.err != nil {
		return fmt.Errorf("%w\naliases: %v, connects: %d, grace: %s\n%s",
			s.err, s.core.aliases, o.maxConnects, o.removeGrace, strings.Join(s.trace, "\n"))
	}
	return nil
}

// pick returns a number under n that the sequence says.
func (s *sim) pick(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

func (s *sim) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

func (s *sim) tracef(format string, args ...any) {
	s.trace = append(s.trace, s.now.Sub(time.Unix(1_000_000, 0)).String()+" "+fmt.Sprintf(format, args...))
}

func (s *sim) begin(name string) {
	top := &simTopology{wants: newWants(name)}
	top.roster = NewRoster(simSelf, nil, func(c Change) { top.wants.apply(s.now, c) })
	s.core.wants = append(s.core.wants, top.wants)
	s.topologies = append(s.topologies, top)
}

func simNodes() []Node { return nodes("a:1", "b:1", "c:1", "10.0.0.1:1") }

// canonical is what a node or a name stands for.
func (s *sim) canonical(n Node) []Node {
	if c, named := s.names[n]; named {
		return c
	}
	return nodes(n)
}

// stood reports whether a node or a name stands for a link, or may have.
func (s *sim) stood(n, x Node) bool {
	return slices.Contains(s.canonical(n), x) || n == "me-too:1" && x == simMoved
}

// linkedAs is what Canonical returns.
func (s *sim) linkedAs(n Node) []Node {
	return slices.DeleteFunc(slices.Clone(s.canonical(n)), func(x Node) bool { return !s.links[x] })
}

// some picks any number of nodes.
func (s *sim) some() []Node {
	all := append(slices.Clone(s.universe), simSelf)
	bits := s.pick(256)
	return slices.DeleteFunc(all, func(n Node) bool { return bits>>(slices.Index(all, n)%8)&1 == 0 })
}

// one picks one of several nodes in order.
func one[V any](s *sim, of map[Node]V) (Node, bool) {
	if len(of) == 0 {
		return "", false
	}
	sorted := slices.Sorted(maps.Keys(of))
	return sorted[s.pick(len(sorted))], true
}

// act does the next thing.
func (s *sim) act() {
	switch s.pick(10) {
	case 0, 1, 2:
		s.say(s.topologies[s.pick(len(s.topologies))])
	case 3, 4:
		if n, ok := one(s, s.dials); ok {
			s.endDial(n, s.pick(8))
		}
	case 5:
		if n, ok := one(s, s.cuts); ok {
			s.endCut(n, s.pick(3) > 0)
		}
	case 6:
		if s.asked != nil {
			s.endListing(s.pick(4) > 0)
		}
	case 7:
		s.changeWorld()
	default:
		s.pass()
	}
}

// say has a topology's strategy, or Apply, say something.
func (s *sim) say(top *simTopology) {
	if top.wants.retired {
		return
	}
	said, keep := s.some(), []Node(nil)
	e := entry{at: s.now, nodes: slices.DeleteFunc(slices.Clone(said), func(n Node) bool { return n == simSelf })}
	switch kind := s.pick(13); kind {
	case 0, 1, 2, 3:
		if s.pick(3) == 0 {
			keep = s.some()
		}
		e.kind = didReplace
		e.keep = slices.DeleteFunc(slices.Clone(keep), func(n Node) bool { return n == simSelf || slices.Contains(said, n) })
		top.roster.Replace(said, keep...)
	case 4, 5:
		e.kind = didAdd
		top.roster.Add(said...)
	case 6:
		e.kind = didRemove
		top.roster.Remove(said...)
	case 7, 8:
		e.kind = didFail
		top.roster.Fail(errSource)
	case 9:
		e.kind = didEnd
		top.wants.end()
	case 10:
		e.kind = didInherit
		top.wants.inherit()
	case 11:
		e.kind = didPoll
		top.wants.polled = true
	default:
		e.kind = didRetire
		top.wants.retire(s.now)
	}
	top.history = append(top.history, e)
	s.tracef("%s: say %d %v, keep %v", top.wants.topology, e.kind, said, keep)
}

// changeWorld has links come and go without the core, and a name move between
// this node and another.
func (s *sim) changeWorld() {
	if s.core.aliases && s.pick(5) == 0 {
		if s.names["me-too:1"] = nodes(); s.pick(2) == 0 {
			s.names["me-too:1"] = nodes(simMoved)
		}
		s.tracef("world: me-too:1 is %v", s.names["me-too:1"])
		return
	}
	n := simNodes()[s.pick(4)]
	s.links[n] = !s.links[n]
	delete(s.ours, n)
	if !s.links[n] {
		delete(s.links, n)
	}
	s.tracef("world: %s linked: %v", n, s.links[n])
	if s.pick(2) == 0 {
		s.core.relist(s.now) // the transport notifies
	}
}

// endDial ends an attempt in one of several ways.
func (s *sim) endDial(n Node, how int) {
	d := s.dials[n]
	delete(s.dials, n)
	stands := s.canonical(n)
	var err error
	switch {
	case len(stands) == 0 && how < 6: // else it can't be resolved
		err = transport.ErrSelf
	case d.cancelled && how > 0: // it may be too late for that
		err = errors.New("cancelled")
	case how < 3:
	case how == 3 && len(stands) > 1:
		stands, err = stands[:1], transport.ErrPartial
	case how == 4:
		stands, err = nil, transport.ErrUnwanted
	case how == 5: // it is linked and says otherwise
		err = errors.New("late")
	default:
		stands, err = nil, errors.New("refused")
	}
	if !d.cancelled || err == nil {
		for _, x := range stands {
			s.links[x] = true
			s.ours[x] = s.ours[x] || err == nil || s.core.aliases // else nobody knows
		}
	}
	var canon []Node
	if s.core.aliases {
		canon = s.linkedAs(n)
	}
	s.reports++
	for _, x := range canon {
		s.told[x] = s.reports
	}
	if err == nil && !s.core.aliases {
		s.told[n] = s.reports
	}
	s.failed[n] = err != nil && !errors.Is(err, transport.ErrSelf) && !d.cancelled
	s.stands[n] = canon
	s.tracef("dial %s ends (cancelled %v): %v", n, d.cancelled, err)
	s.core.connected(s.now, n, canon, outcomeOf(err))
	switch {
	case errors.Is(err, transport.ErrSelf):
		s.leads[n] = leadsHere
	case err == nil, errors.Is(err, transport.ErrPartial), errors.Is(err, transport.ErrUnwanted):
		s.leads[n] = leadsElsewhere
	}
	s.learn()
	if s.core.targets[n].up { // the other side has linked us
		delete(s.failed, n)
	}
}

func (s *sim) endCut(n Node, ok bool) {
	delete(s.cuts, n)
	var err error
	if ok {
		delete(s.links, n)
		delete(s.ours, n)
		s.reports++
		delete(s.told, n)
		s.gone[n] = s.reports
	} else {
		err = errors.New("can't disconnect")
	}
	s.tracef("cut %s ends: %v", n, err)
	s.core.disconnected(s.now, n, err)
}

func (s *sim) endListing(ok bool) {
	l := s.asked
	s.asked = nil
	answer := listed{seq: l.seq, canon: map[Node][]Node{}, departed: map[Node]bool{}}
	s.tracef("listing ends, ok: %v", ok)
	if !ok {
		answer.err = errors.New("can't list")
		s.core.listEnded(s.now, answer)
		return
	}
	answer.nodes = slices.Sorted(maps.Keys(s.links))
	for _, n := range l.targets {
		answer.canon[n] = s.linkedAs(n)
		s.stands[n] = answer.canon[n]
	}
	for _, n := range l.links {
		answer.departed[n] = !s.links[n] && s.pick(2) == 0
	}
	for _, n := range s.universe { // what has ended since it was begun is newer
		switch linked := s.links[n]; {
		case linked && s.told[n] == 0 && s.gone[n] <= l.report:
			s.told[n] = l.report
		case !linked && s.told[n] <= l.report:
			delete(s.told, n)
		}
	}
	s.core.listEnded(s.now, answer)
	s.learn()
}

// pass has time pass: often to the very moment at which something is due, and
// sometimes without a look at the clock before the next thing happens.
func (s *sim) pass() {
	s.step()
	to := s.now
	switch s.pick(8) {
	case 0:
		to = to.Add(time.Duration(1+s.pick(100)) * 10 * time.Millisecond)
	case 1:
		to = to.Add(time.Duration(1+s.pick(40)) * time.Second)
	case 2:
		to = to.Add(time.Duration(1+s.pick(12)) * time.Minute)
	case 3:
		to = to.Add(s.core.removeGrace)
	case 4:
		to = to.Add(s.core.hintTTL)
	case 5:
		if s.wake.After(s.now) { // what comes next comes first
			s.now = s.wake
		}
		return
	case 6:
		if !s.wake.IsZero() {
			to = s.wake.Add(-time.Nanosecond)
		}
	default:
		to = s.wake
	}
	s.passTo(to)
}

func (s *sim) passTo(to time.Time) {
	for s.err == nil && !s.wake.IsZero() && s.wake.Before(to) {
		s.now = later(s.now, s.wake)
		s.step()
	}
	s.now = later(s.now, to)
}

// converge heals the world, and checks that all comes out as it is wanted.
func (s *sim) converge() {
	s.settle()
	for _, n := range s.universe {
		if !s.dialled(n) {
			continue
		}
		for _, x := range s.canonical(n) {
			if !s.links[x] {
				s.failf("in the end %s, which is %s, isn't linked", x, n)
			}
		}
	}
	s.checkOurs()
	for _, top := range s.topologies {
		if !top.wants.retired {
			top.wants.retire(s.now)
			top.history = append(top.history, entry{at: s.now, kind: didRetire})
		}
	}
	s.settle()
	s.checkOurs()
	if !s.core.idle() {
		s.failf("not idle after everything has ended")
	}
}

// settle runs a good world for two minutes.
func (s *sim) settle() {
	end := s.now.Add(2 * time.Minute)
	for s.err == nil && s.now.Before(end) {
		s.step()
		for _, n := range slices.Sorted(maps.Keys(s.dials)) {
			s.endDial(n, 0)
		}
		for _, n := range slices.Sorted(maps.Keys(s.cuts)) {
			s.endCut(n, true)
		}
		if s.asked != nil {
			s.endListing(true)
		}
		s.step()
		if len(s.dials)+len(s.cuts) == 0 && s.asked == nil {
			s.now = later(s.now, earlier(s.wake, end))
		}
	}
}

func (s *sim) checkOurs() {
	for x, is := range s.ours {
		if is && !s.standsFor(x) {
			s.failf("in the end %s is linked, though nobody wants what was dialled", x)
		}
	}
}

// standsFor reports whether a topology wants a link, by any name.
func (s *sim) standsFor(x Node) bool {
	return slices.ContainsFunc(s.universe, func(n Node) bool { return s.wanted(n) && slices.Contains(s.canonical(n), x) })
}
