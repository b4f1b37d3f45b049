package mesh

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
)

// partTimeout bounds how long a link that was closed may take to send what is
// queued, and its peer to see it.
const partTimeout = time.Second

// A link is one connection with a peer, on which the other side has proved
// itself. One goroutine reads it; what is to be written goes through out.
type link struct {
	m       *Mesh
	id      linkID
	conn    net.Conn
	ekm     []byte // what its proofs are bound to
	dialled bool
	unasked bool  // no caller of Connect dialled it
	peer    *peer // set by admit, before the reader starts; nil during the handshake
	out     outbox
	parts   arrivals // the reader's
	batch   batch    // the reader's

	heard   atomic.Int64  // when bytes last came, in nanoseconds since the mesh began
	asked   atomic.Int64  // when a ping was last sent
	written atomic.Int64  // when the last write began
	rtt     atomic.Int64  // of the handshake, then of the latest ping, in nanoseconds
	pongs   signal.Signal // rung at every pong
	deaf    atomic.Bool   // its peer went down, and hasn't left: nothing is delivered any more

	state signal.Signal // rung when turn is set, when it goes out of the mesh's links, and when it ends
	ended atomic.Bool   // set with the mesh's mu held

	opened, shutting bool // the reader's: begin has come, last has come

	// The mesh's mu guards these.
	turn     uint64 // the deciding side's count of links; 0 before it began
	follows  *link  // whose messages its reader waits for
	sentLast bool
	gotLast  bool
	grace    grace

	key        []byte    // of the secret that the other side has proved last
	unproved   time.Time // since when that secret is gone; zero if it isn't
	challenged time.Time
	nonce      []byte // of the challenge that is open
}

// newLink registers a link before the other side can know of it, so that
// whatever names it finds it. The caller admits it or abandons it.
func (m *Mesh) newLink(s *session, id linkID, dialled bool) (*link, error) {
	l := &link{
		m: m, id: id, conn: s.conn, ekm: s.ekm, key: s.key, dialled: dialled,
	}
	l.heard.Store(int64(m.elapsed()))
	l.rtt.Store(int64(s.rtt))
	l.out = outbox{limit: m.cfg.SendQueue, buffers: &m.writes, write: l.write, shut: l.shut, start: m.run}
	l.parts.budget = &m.large
	if l.pusher() != nil {
		l.out.try = l.try
	}
	tuneLink(s.conn)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links[id] != nil {
		return nil, fmt.Errorf("%w: hello: link %x exists", errMalformed, id[:])
	}
	m.links[id] = l
	return l, nil
}

// abandon forgets a link whose handshake failed.
func (m *Mesh) abandon(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(l)
	m.closeReceived(l)
}

// write is called by the outbox's goroutine. If it fails, the reader ends the
// link, once it has read what the peer had to say.
func (l *link) write(b []byte) {
	l.written.Store(int64(l.m.elapsed()))
	_, err := l.conn.Write(b)
	if p := l.pusher(); p != nil && err == nil {
		err = p.flush()
	}
	if err != nil {
		l.broken()
	}
}

// try is called by whoever sends on an idle link.
func (l *link) try(b []byte) (all bool) {
	l.written.Store(int64(l.m.elapsed()))
	left, err := l.pusher().hurry(func() error { _, err := l.conn.Write(b); return err })
	if err != nil {
		l.broken()
	}
	return !left
}

func (l *link) broken() {
	l.out.fail()
	l.expire()
}

// pusher is what can write without waiting; nil if nothing can.
func (l *link) pusher() *pusher {
	if c, ok := l.conn.(*tls.Conn); ok {
		if exact, ok := c.NetConn().(*exactConn); ok && exact.out.push != nil {
			return &exact.out
		}
	}
	return nil
}

// shut ends the writing side; the peer's answer ends the reader.
func (l *link) shut() {
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // if it fails, the deadline ends the link
	}
}

// expire lets the reader and the writer run for a short while only.
func (l *link) expire() { _ = l.conn.SetDeadline(time.Now().Add(partTimeout)) }

// A closeError is the peer's last word.
type closeError struct {
	code   Code
	reason string
}

func (e *closeError) Error() string {
	return fmt.Sprintf("closed by the peer (%s): %s", e.code, e.reason)
}

// reasonOf says what the end of a reader means, and the code by which the peer
// asked to take all its links down, if it did.
func reasonOf(err error) (Reason, Code) {
	var ce *closeError
	switch {
	case !errors.As(err, &ce):
		return ReasonLost, CodeNone
	case ce.code == CodeLeft:
		return ReasonLeft, CodeLeft
	case ce.code == CodeUnwanted:
		return ReasonUnwanted, CodeUnwanted
	default:
		return ReasonLost, ce.code
	}
}

// read runs until the link can't be read any further.
func (l *link) read() {
	err := l.readFrames()
	l.flush()
	l.parts.end()
	if errors.Is(err, ErrProtocol) {
		if left, ok := l.m.refusals.due("broken", string(l.peer.hello.node), time.Now()); ok {
			l.m.log.Warn("a peer broke the protocol", "node", l.peer.hello.node, "error", err, "repeated", left)
		}
	}
	l.m.ended(l, err)
}

func (l *link) readFrames() error {
	r := newFrameReader(l)
	for !l.ended.Load() { // what it still holds is not to be delivered
		if err := r.rest(); err != nil {
			return err
		}
		if err := r.full(r.header[:]); err != nil {
			return err
		}
		t, length := parseHeader(r.header)
		if err := l.readPayload(r, t, length); err != nil {
			return err
		}
	}
	return errEnded
}

func (l *link) readPayload(r *frameReader, t frameType, length int) error {
	limit, known := l.limit(t)
	switch {
	case length > limit:
		return fmt.Errorf("%w: type %d with %d bytes, more than %d", errMalformed, t, length, limit)
	case !known:
		_, err := io.CopyN(io.Discard, r, int64(length))
		return err
	case t.talk() && (!l.opened || l.shutting):
		return fmt.Errorf("%w: type %d before begin, or after last", errMalformed, t)
	case t == framePart:
		whole, err := l.parts.part(r, length)
		if err != nil || whole == nil {
			return err
		}
		return l.arrived(whole)
	}
	payload := make([]byte, length)
	if err := r.full(payload); err != nil {
		return err
	}
	return l.handle(t, payload)
}

// limit is the most bytes that a frame may have. What a newer node says may be
// as long as a message.
func (l *link) limit(t frameType) (limit int, known bool) {
	switch t {
	case frameBegin, frameLast, framePing, framePong, frameChallenge, frameDigest:
		limit, _ = fixedSize(t)
		return limit, true
	case frameClose:
		return maxRefuse, true
	case framePeers:
		return maxClaimsFrame, true
	case frameMeta:
		return maxHello, true
	case frameReproof:
		return maxSecrets * proofSize, true
	case frameMessage, frameRequest, frameReply:
		return min(maxWhole, l.most(t)), true
	case frameLarge:
		return largeHead, true
	case framePart:
		return partHead + maxPart, true
	case frameProof, frameAnswer, frameHello, frameWelcome, frameRefuse:
		return 0, false // over by now: skipped if empty, refused otherwise
	default:
		return 1 + maxSubject + maxMessageLimit, false
	}
}

func (l *link) handle(t frameType, payload []byte) error {
	if t != frameMessage {
		l.flush()
	}
	if size, fixed := fixedSize(t); fixed && len(payload) != size {
		return fmt.Errorf("%w: type %d with %d bytes, want %d", errMalformed, t, len(payload), size)
	}
	switch t {
	case framePing:
		l.out.urge(framePong, payload)
	case framePong:
		if d := int64(l.m.elapsed()) - int64(binary.BigEndian.Uint64(payload)); d > 0 {
			l.rtt.Store(d)
		}
		l.pongs.Ring()
	case frameBegin:
		l.opened = true
		before, turn := decodeBegin(payload)
		return l.m.beginReceived(l, before, turn)
	case frameLast:
		l.shutting = true
		l.m.lastReceived(l)
	case framePeers:
		return l.m.learn(l.peer, payload)
	case frameDigest:
		l.m.digestReceived(l.peer, digest(payload))
	case frameMeta:
		return l.m.metaReceived(l.peer, payload)
	case frameChallenge:
		l.m.proveAgain(l, payload)
	case frameReproof:
		l.m.provedAgain(l, payload)
	case frameClose:
		code, reason, err := decodeReason(payload)
		if err != nil {
			return err
		}
		return &closeError{code, reason}
	case frameLarge:
		return l.parts.begin(payload, l.most)
	case frameMessage, frameRequest, frameReply:
		return l.deliver(t, payload, 0)
	default: // of the handshake, which is over
	}
	return nil
}

// most is how long the payload of a message, a request or a reply may be.
func (l *link) most(t frameType) int {
	most, _ := mostOf(t)
	return most - maxMessageLimit + max(l.m.cfg.MaxMessage, maxErrorText)
}

// deliver hands a message, a request or a reply over. held is what it has of the
// mesh's budget.
func (l *link) deliver(t frameType, payload []byte, held int) error {
	if l.deaf.Load() {
		l.m.large.give(held)
		return nil
	}
	var id uint64
	var s status
	var subject, data []byte
	var err error
	switch t {
	case frameRequest:
		id, subject, data, err = decodeRequest(payload)
	case frameReply:
		id, s, data, err = decodeReply(payload)
	default:
		subject, data, err = decodeMessage(payload)
	}
	switch {
	case err != nil:
		l.m.large.give(held)
		return err
	case t == frameRequest:
		l.peer.in.desks.request(request{from: l.peer, id: id, data: data, held: held}, subject)
	case t == frameReply:
		l.m.large.give(held) // the data are the caller's from now on
		l.peer.replied(id, s, data)
	default:
		l.peer.in.deliver(subject, data, held, &l.batch)
	}
	return nil
}

// flush queues the messages that the reader has kept together. Before it waits, or
// looks at a frame of another type, it does that.
func (l *link) flush() { l.peer.in.flush(&l.batch) }

// arrived takes what has come in parts, or is told that it is skipped.
func (l *link) arrived(a *arrival) error {
	if !a.skipped() {
		return l.deliver(a.t, a.payload, a.length)
	}
	if left, ok := l.m.refusals.due("large", string(l.peer.hello.node), time.Now()); ok {
		l.m.log.Warn("too many large messages at once, dropping more", "node", l.peer.hello.node, "bytes", a.length, "repeated", left)
	}
	id := binary.BigEndian.Uint64(a.head[:])
	switch {
	case l.deaf.Load():
	case a.t == frameRequest:
		l.m.refuse(l.peer, id, statusOverloaded)
	case a.t == frameReply:
		l.peer.calls.answer(id, answer{err: ErrOverloaded})
	default:
		l.m.counts.dropped.Add(1)
	}
	return nil
}
