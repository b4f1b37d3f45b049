package mesh

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// From one place, so many handshakes may begin at once and then each second.
// One that is proved doesn't count.
const (
	guestsAtOnce    = 256
	guestsPerSecond = 256
	maxPlaces       = 1024
)

// A guest is a connection that was accepted and hasn't proved itself.
type guest struct {
	conn  net.Conn
	ip    netip.Addr
	place netip.Prefix
	out   chan struct{} // closed when it is turned out

	proved bool // the room's mu guards it
}

// A waitingRoom bounds the guests. Nobody is banned: those who come from one
// place, an IPv4 address or an IPv6 network of 64 bits, are slowed down when
// they are many, and when the room is full, the oldest of the place that has
// most of them goes. So a flood from one place locks nobody else out, and even
// from that place a good node gets in.
type waitingRoom struct {
	limit int

	mu      sync.Mutex
	closed  bool
	guests  []*guest // the oldest first, and those who have just proved themselves
	places  map[netip.Prefix]*place
	present map[netip.Addr]int // guests, and those who have just proved themselves
}

type place struct {
	guests int // that haven't proved themselves
	tokens bucket
}

// placeOf is what counts as one place.
func placeOf(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fails for the zero address only, which is a place too
	return p
}

// enter returns nil, and closes conn, when the room is closed.
func (w *waitingRoom) enter(conn net.Conn) *guest {
	g := &guest{conn: conn, out: make(chan struct{})}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		g.ip = a.AddrPort().Addr().Unmap().WithZone("")
	}
	g.place = placeOf(g.ip)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close()
		return nil
	}
	if w.places == nil {
		w.places, w.present = map[netip.Prefix]*place{}, map[netip.Addr]int{}
	}
	w.at(g.place).guests++
	w.present[g.ip]++
	if len(w.guests) >= w.limit {
		w.turnOut(w.busiest())
	}
	w.guests = append(w.guests, g)
	return g
}

// at finds a place, and forgets others if there are too many.
func (w *waitingRoom) at(where netip.Prefix) *place {
	if p := w.places[where]; p != nil {
		return p
	}
	for other, p := range w.places {
		if len(w.places) < maxPlaces {
			break
		}
		if p.guests == 0 {
			delete(w.places, other)
		}
	}
	p := &place{tokens: newBucket(guestsAtOnce, guestsPerSecond, time.Now())}
	w.places[where] = p
	return p
}

// busiest is the oldest guest of the place with the most, and if all have proved
// themselves, the one who takes longest to say more.
func (w *waitingRoom) busiest() *guest {
	var worst *guest
	for _, g := range w.guests {
		if !g.proved && (worst == nil || w.places[g.place].guests > w.places[worst.place].guests) {
			worst = g
		}
	}
	if worst == nil {
		return w.guests[0]
	}
	return worst
}

// turnOut closes a guest's connection, which ends its handshake.
func (w *waitingRoom) turnOut(g *guest) {
	_ = g.conn.Close()
	close(g.out)
	w.forget(g)
}

func (w *waitingRoom) forget(g *guest) {
	i := slices.Index(w.guests, g)
	if i < 0 {
		return
	}
	w.guests = slices.Delete(w.guests, i, i+1)
	if !g.proved {
		w.places[g.place].guests--
	}
}

// turn waits until a guest's handshake may begin. Of those who wait, whoever
// asks first after a token has come gets it, not whoever has waited longest: the
// oldest are the first to be turned out.
func (w *waitingRoom) turn(ctx context.Context, g *guest) error {
	for {
		wait := w.tryTurn(g)
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			continue
		case <-g.out:
		case <-ctx.Done():
		}
		timer.Stop()
		return cmp.Or(context.Cause(ctx), net.ErrClosed)
	}
}

func (w *waitingRoom) tryTurn(g *guest) (wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.at(g.place)
	if wait = p.tokens.take(1, time.Now()); wait > 0 {
		wait += time.Duration(rand.Float64() * float64(p.guests) / guestsPerSecond * float64(time.Second))
	}
	return wait
}

// proved notes that a guest is no stranger any more: it isn't slowed down, and
// goes after those who are.
func (w *waitingRoom) proved(g *guest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.guests, g) && !g.proved {
		g.proved = true
		w.places[g.place].guests--
		w.places[g.place].tokens.giveBack(1)
	}
}

// leave takes a guest out whose handshake is over, well or not. It reports
// whether that was the last from its address.
func (w *waitingRoom) leave(g *guest) (last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(g)
	if w.present[g.ip]--; w.present[g.ip] > 0 {
		return false
	}
	delete(w.present, g.ip)
	return true
}

// from reports whether a guest from that address is there.
func (w *waitingRoom) from(ip netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.present[ip] > 0
}

func (w *waitingRoom) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for len(w.guests) > 0 {
		w.turnOut(w.guests[0])
	}
}
