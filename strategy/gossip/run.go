package gossip

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/libcluster-go/cluster"
)

const (
	// refreshEvery is how often interfaces are looked for, and refreshFailing
	// while nothing can be sent.
	refreshEvery   = 5 * time.Second
	refreshFailing = time.Second

	// complainEvery is how often packets that were dropped are logged, if there
	// are any.
	complainEvery = 10 * time.Minute

	// farewells are sent, since one may be lost.
	farewells = 2

	// packetQueue is how many packets may wait for the loop. Others wait in the
	// kernel, or are lost there.
	packetQueue = 64

	// maxReceiveErrors in a row end a Run, which is started again.
	maxReceiveErrors = 100
)

// A packet is one that was received and has passed the cheap checks.
type packet struct {
	buf    []byte // of packetBuffer bytes; goes back to free
	size   int
	header header
	from   origin
}

// A gossiper is one Run. But for receive, everything is the loop's.
type gossiper struct {
	cfg     Strategy
	roster  *cluster.Roster
	links   []link
	keys    keyring
	me      instance
	sealers []cipher.AEAD // one for each secret
	counter uint64
	about   message // this node
	state   *state

	failed     error // why nothing could be sent the last time; nil if it could
	refreshed  time.Time
	troubled   string // where nothing could be sent or heard, when that was logged
	complained time.Time
	bad        int64     // packets, when that was logged
	crowded    time.Time // when it was logged that there are too many nodes

	readers sync.WaitGroup
	packets chan packet
	free    chan []byte
	broken  chan error
}

// packetBuffer is more than a packet may have, so that longer ones are seen to
// be too long.
const packetBuffer = maxPacket + 1

// run gossips by links until ctx is done, and closes them.
func (s Strategy) run(ctx context.Context, r *cluster.Roster, links []link) error {
	g, err := newGossiper(s, r, links)
	if err != nil {
		return errors.Join(err, closeAll(links))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, l := range links {
		g.listen(ctx, l)
	}
	err = g.loop(ctx)
	cancel()
	err = errors.Join(err, closeAll(links))
	g.readers.Wait()
	return err
}

func closeAll(links []link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

func newGossiper(s Strategy, r *cluster.Roster, links []link) (*gossiper, error) {
	g := &gossiper{
		cfg: s, roster: r, links: links,
		packets: make(chan packet, packetQueue), free: make(chan []byte, packetQueue), broken: make(chan error),
	}
	for range packetQueue {
		g.free <- make([]byte, packetBuffer)
	}
	nodes := s.Advertise
	if len(nodes) == 0 && r.Self() != "" {
		nodes = []cluster.Node{r.Self()}
	}
	if len(nodes) == 0 {
		return nil, errors.New("gossip: the transport doesn't know what this node is called; set Advertise (or Topology.Self) to where the others reach it")
	}
	nodes, err := canonical(nodes)
	if err != nil {
		return nil, err
	}
	g.about = message{cluster: s.Cluster, nodes: nodes}
	if err := g.about.check(); err != nil {
		return nil, err
	}
	if g.keys, err = newKeyring(s.Secrets); err != nil {
		return nil, err
	}
	_, _ = rand.Read(g.me[:]) // never fails: crypto/rand ends the program instead
	if g.sealers, err = g.keys.sealers(g.me); err != nil {
		return nil, err
	}
	now := time.Now()
	g.complained = now.Add(-complainEvery)
	g.state = newState(now, g.me, nodes, s, mathrand.Float64)
	return g, nil
}

// listen has an ear be heard until ctx is done and its link is closed.
func (g *gossiper) listen(ctx context.Context, e ear) {
	g.readers.Go(func() { g.receive(ctx, e) })
}

// receive passes on what looks like a packet of another node.
func (g *gossiper) receive(ctx context.Context, e ear) {
	var buf []byte
	for failures := 0; ; {
		if buf == nil {
			select {
			case buf = <-g.free:
			case <-ctx.Done():
				return
			}
		}
		n, from, err := e.receive(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			if failures++; failures >= maxReceiveErrors {
				select {
				case g.broken <- err:
				case <-ctx.Done():
				}
				return
			}
			continue
		}
		failures = 0
		h, err := parseHeader(buf[:n])
		if err != nil {
			g.cfg.Stats.drop(err)
			continue
		}
		if h.instance == g.me {
			continue
		}
		select {
		case g.packets <- packet{buf: buf, size: n, header: h, from: from}:
			buf = nil
		case <-ctx.Done():
			return
		}
	}
}

// loop owns the state.
func (g *gossiper) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			g.leave()
			return nil
		case err := <-g.broken:
			return fmt.Errorf("gossip: nothing can be received: %w", err)
		case p := <-g.packets:
			g.take(time.Now(), p)
			g.free <- p.buf
		case <-timer.C:
		}
		g.refresh(ctx, time.Now())
		g.act(time.Now())
		timer.Reset(time.Until(earlier(g.state.next(), g.refreshAt())))
	}
}

// take is what becomes of a packet: the cheap checks come first.
func (g *gossiper) take(now time.Time, p packet) {
	known := g.state.sender(p.header.instance)
	var key cipher.AEAD
	if known != nil {
		if !known.window.fresh(p.header.counter) {
			g.cfg.Stats.drop(errRepeated)
			return
		}
		key = known.key
	}
	m, key, err := g.keys.open(p.buf[:p.size], p.header, key)
	if err == nil && m.cluster != g.cfg.Cluster {
		err = errForeign
	}
	if err != nil {
		g.cfg.Stats.drop(err)
		return
	}
	g.cfg.Stats.Heard.Add(1)
	g.state.hear(now, p.header, key, m, p.from)
}

// act does what is due.
func (g *gossiper) act(now time.Time) {
	do := g.state.step(now)
	recovered := false
	if do.send {
		m := g.about
		m.period = g.state.period(now)
		m.heard = g.state.mentions(now, m.mentions())
		recovered = g.send(m)
	}
	if len(do.remove) > 0 {
		g.roster.Remove(do.remove...)
	}
	if recovered {
		do.add, do.report = append(do.add, g.state.heardLately(now)...), true
	}
	if len(do.add) > 0 || do.report && g.failed == nil {
		g.roster.Add(do.add...)
	}
	if g.failed != nil && (do.report || len(do.add) > 0) {
		g.roster.Fail(g.failed)
	}
	if do.report && g.failed == nil {
		g.state.passed.expire(now)
	}
	if do.report {
		g.complain(now)
	}
}

// send sends a message. It fails if no link takes it, and has recovered if it
// had failed before.
func (g *gossiper) send(m message) (recovered bool) {
	before := g.failed
	g.failed = g.transmit(m)
	if g.failed != nil && before == nil {
		g.roster.Fail(g.failed)
	}
	return before != nil && g.failed == nil
}

// transmit sends a message by all links, sealed with each secret: while secrets
// are changed, not all nodes have the same ones. Its error says that no link
// took it.
func (g *gossiper) transmit(m message) error {
	var errs []error
	for _, l := range g.links {
		var failed error
		for _, key := range g.sealers {
			g.counter++
			packet := seal(key, g.me, g.counter, m)
			if failed = l.send(packet); failed != nil {
				errs = append(errs, failed)
				break
			}
			g.cfg.Stats.Sent.Add(1)
			g.cfg.Stats.SentBytes.Add(int64(len(packet)))
		}
	}
	if len(errs) < len(g.links) {
		return nil
	}
	return fmt.Errorf("gossip: nothing can be sent: %w", errors.Join(errs...))
}

// leave says farewell.
func (g *gossiper) leave() {
	if g.counter == 0 {
		return // nobody has heard of us
	}
	m := g.about
	m.leaving, m.period = true, g.state.period(time.Now())
	for range farewells {
		_ = g.transmit(m) // then the others notice without it
	}
}

// refresh has the links look for interfaces now and then, and more often while
// nothing can be sent, which is tried again then.
func (g *gossiper) refresh(ctx context.Context, now time.Time) {
	if now.Before(g.refreshAt()) {
		return
	}
	g.refreshed = now
	if g.failed != nil {
		g.state.announce(now) // try again
	}
	var troubles []trouble
	for _, l := range g.links {
		seen := l.refresh(ctx)
		if seen.came {
			g.state.announce(now)
		}
		for _, e := range seen.ears {
			g.listen(ctx, e)
		}
		troubles = append(troubles, seen.troubles...)
	}
	if g.failed == nil { // else that is told
		g.warn(troubles)
	}
}

// warn logs where nothing can be sent or heard, when that has changed. What was
// sent by an interface that has just come, and may not be ready, doesn't count:
// it is tried again before the next look.
func (g *gossiper) warn(troubles []trouble) {
	var where []string
	var errs []error
	for _, t := range troubles {
		where = append(where, t.where)
		errs = append(errs, fmt.Errorf("%s: %w", t.where, t.err))
	}
	text := strings.Join(where, ", ")
	switch text {
	case g.troubled:
		return
	case "":
		g.roster.Logger().Info("gossip can use all interfaces again", "interfaces", g.troubled)
	default:
		g.roster.Logger().Warn("gossip can't use some interfaces: nodes there aren't found", "interfaces", text, "error", errors.Join(errs...))
	}
	g.troubled = text
}

func (g *gossiper) refreshAt() time.Time {
	if g.failed != nil {
		return g.refreshed.Add(refreshFailing)
	}
	return g.refreshed.Add(refreshEvery)
}

// complain logs now and then that nodes aren't passed on for being too many, and
// how many packets were dropped for being no good: somebody may have another
// secret.
func (g *gossiper) complain(now time.Time) {
	if g.state.passed.turnedAway() && now.Sub(g.crowded) >= complainEvery {
		g.roster.Logger().Warn("more nodes gossip than MaxNodes lets be passed on", "max_nodes", g.cfg.MaxNodes)
		g.crowded = now
	}
	stats := g.cfg.Stats
	forged, malformed := stats.Forged.Load(), stats.Malformed.Load()
	if forged+malformed == g.bad || now.Sub(g.complained) < complainEvery {
		return
	}
	g.roster.Logger().Warn("packets of gossip are dropped; has somebody another secret?", "forged", forged, "malformed", malformed)
	g.bad, g.complained = forged+malformed, now
}
