package mesh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// The side of a pair that doesn't dial first waits for the other 50 to 250 ms.
// It counts these in short ticks, of which those don't count that come late: on
// a machine that is busy, everybody is slow. While a handshake is under way that
// may be the other's, or any of its own, after which all may be busy, it waits
// on, for at most this part of Config.HandshakeTimeout since a link was last made,
// and so many times that in all.
const (
	waitTick     = 10 * time.Millisecond
	waitLate     = 3 * waitTick
	waitBusy     = 50 * waitTick // between two looks while a handshake is under way
	waitTicksMin = 5
	waitTicksMax = 25
	waitPart     = 0.4
	waitParts    = 6
)

// errOvertaken says that the other side has come first.
var errOvertaken = errors.New("mesh: the other side dials")

// dialInTurn leaves the other side of a pair the time to dial, if it is to dial
// first. Behind a name it may not know that.
func (m *Mesh) dialInTurn(ctx context.Context, t target, a *attempt) error {
	waits := t.host == "" && !dialsFirst(m.self.node.Addr(), t.addr)
	until := m.patience()
	for {
		if waits {
			linked, err := m.waitForPeer(ctx, t.addr, a, until)
			if linked || err != nil {
				return err
			}
		}
		err := m.dial(ctx, t, func(took time.Duration) bool {
			return m.coming(t.addr, false) || waits && m.comesWithin(ctx, t.addr, min(2*took, until()))
		})
		if !errors.Is(err, errOvertaken) {
			return err
		}
		waits = true
	}
}

// patience begins to wait for the other side. The returned func tells for how long
// that may go on. While links are made, it is only a matter of time until this one
// is.
func (m *Mesh) patience() (left func() time.Duration) {
	part := time.Duration(waitPart * float64(m.cfg.HandshakeTimeout))
	began := m.elapsed()
	return func() time.Duration {
		since := max(began, time.Duration(m.progress.Load()))
		return min(since+part, began+waitParts*part) - m.elapsed()
	}
}

// comesWithin watches for the other side once more, now that this side has
// connected: where that took long, so does everything.
func (m *Mesh) comesWithin(ctx context.Context, addr string, d time.Duration) bool {
	if d <= 0 {
		return false
	}
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		changed := m.changed.Wait()
		if m.coming(addr, true) {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// coming reports whether there is a peer at that address, up or about to be, or
// a guest from there who may be it, if these count.
func (m *Mesh) coming(addr string, guests bool) bool {
	if guests { // looked at first: a guest leaves when it is a peer
		if a, err := netip.ParseAddrPort(addr); err == nil && m.waiting.from(a.Addr()) {
			return true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byAddr[addr] != nil
}

// dialsFirst reports which of two advertised addresses dials: both sides come
// to the same answer, and over many pairs each side has half of the work.
func dialsFirst(self, other string) bool {
	a, b := sha256.Sum256([]byte(self+"\x00"+other)), sha256.Sum256([]byte(other+"\x00"+self))
	return bytes.Compare(a[:], b[:]) < 0
}

func waitTicks() int { return waitTicksMin + rand.IntN(waitTicksMax-waitTicksMin+1) }

// waitForPeer gives the other side of a pair the time to dial. In a large mesh
// that forms, many wait at once for a long time: so they wake for what is about
// their own address, and when this node isn't busy any more, and seldom besides.
func (m *Mesh) waitForPeer(ctx context.Context, addr string, a *attempt, until func() time.Duration) (linked bool, err error) {
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	last, slow := time.Now(), false
	for ticks := waitTicks(); ; {
		changed, lull := a.changed.Wait(), m.lull.Wait()
		early := until() > 0
		coming := m.coming(addr, early) || early && m.proving.Load() > 0
		m.mu.Lock()
		linked = len(m.find(transport.Node(addr))) > 0
		m.mu.Unlock()
		switch {
		case linked:
			return true, nil
		case coming:
			ticks = waitTicks() // if that wasn't the other side, it may still come
		case ticks <= 0:
			return false, nil
		}
		if slow != coming {
			slow = coming
			if tick.Reset(waitTick); slow {
				tick.Reset(waitBusy)
			}
		}
		select {
		case <-changed:
		case <-lull:
		case <-tick.C:
			now := time.Now()
			if !early || now.Sub(last) < waitLate {
				ticks--
			}
			last = now
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}
