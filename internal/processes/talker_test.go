package processes_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	smallData = 64
	largeData = 256 << 10
	hugeData  = 4 << 20 // in many parts, and given up at times
	// talkTime is how long one thing that is said may take, before it counts as
	// lost.
	talkTime = 30 * time.Second
	// The longest between two of a kind, in which others get to speak.
	usualPause = 2 * time.Millisecond
	largePause = 50 * time.Millisecond
	hugePause  = 400 * time.Millisecond
	// hasty is how long every second huge message has at most.
	hasty = 10 * time.Millisecond
)

// A talker says and asks all that can be said over a mesh, and answers all.
type talker struct {
	m     *mesh.Mesh
	work  sync.WaitGroup
	stop  context.CancelFunc
	close func()

	id   uint64
	said atomic.Uint64 // what it has begun to say so far

	mu    sync.Mutex
	heard map[voice]tally
	told  map[ear]int // what went well

	// The nodes with which a link never ends, and who changes the secrets; none in a
	// child.
	steady []transport.Node
	ring   *keyring

	done    [kinds]atomic.Int64 // what went well, by kind
	givenUp atomic.Int64        // huge messages that were not done in their time
	bad     chan error          // what may not be
}

// A talk is one kind of what is said to a node. One goroutine says it, so that its
// subject, which no other has, comes in order.
type talk struct {
	name    string
	subject string // of messages; others have answers
	pause   time.Duration
	do      func(ctx context.Context, n transport.Node) error
}

const (
	kinds       = 7
	castSubject = "cast"
	hugeSubject = "huge"
)

func (t *talker) talks() [kinds]talk {
	return [...]talk{
		{"messages", "small", usualPause, func(ctx context.Context, n transport.Node) error {
			return t.m.Send(ctx, n, "small", t.words(smallData))
		}},
		{"large messages", "large", largePause, func(ctx context.Context, n transport.Node) error {
			return t.m.Send(ctx, n, "large", t.words(largeData))
		}},
		{"broadcasts", castSubject, usualPause, func(ctx context.Context, _ transport.Node) error {
			return t.m.Broadcast(ctx, castSubject, t.words(smallData))
		}},
		{"requests", "", usualPause, func(ctx context.Context, n transport.Node) error { return t.request(ctx, n, smallData) }},
		{"large requests", "", largePause, func(ctx context.Context, n transport.Node) error { return t.request(ctx, n, largeData) }},
		{"streams", "", usualPause, t.stream},
		{"huge messages", hugeSubject, hugePause, t.huge},
	}
}

const (
	// wordsHead is the speaker and the number with which words begin.
	wordsHead = 16
	// patternPeriod is after how many bytes the rest repeats.
	patternPeriod = 256
)

// words are data of which it can be seen that they came through whole, from whom,
// and what that one has said before.
func (t *talker) words(n int) []byte {
	period := make([]byte, patternPeriod)
	first := byte(rand.Uint32())
	for i := range period {
		period[i] = first + byte(i)
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, n+patternPeriod), t.id)
	b = binary.BigEndian.AppendUint64(b, t.said.Add(1))
	for len(b) < n {
		b = append(b, period...)
	}
	return b[:n]
}

var errHarm = errors.New("it has come to harm")

// hear takes words to a subject, which have to be whole, and to come once and in
// order.
func (t *talker) hear(subject string, b []byte) error {
	if len(b) < wordsHead {
		return errHarm
	}
	pattern := b[wordsHead:]
	for i := range pattern[:min(len(pattern), patternPeriod)] {
		if pattern[i] != pattern[0]+byte(i) {
			return errHarm
		}
	}
	if n := len(pattern) - patternPeriod; n > 0 && !bytes.Equal(pattern[:n], pattern[patternPeriod:]) {
		return errHarm
	}
	from, number := voice{binary.BigEndian.Uint64(b), subject}, binary.BigEndian.Uint64(b[8:])
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.heard[from]
	t.heard[from] = tally{latest: number, all: last.all + 1}
	if number <= last.latest {
		return fmt.Errorf("number %d comes after number %d", number, last.latest)
	}
	return nil
}

// newTalker has a mesh answer whatever others say.
func newTalker(m *mesh.Mesh) (*talker, error) {
	t := &talker{m: m, id: rand.Uint64(), heard: map[voice]tally{}, told: map[ear]int{}, bad: make(chan error, 1)}
	take := func(_ context.Context, msg mesh.Message) {
		if err := t.hear(msg.Subject, msg.Data); err != nil {
			t.blame(fmt.Errorf("a message of %d bytes to %s from %s: %w", len(msg.Data), msg.Subject, msg.From, err))
		}
	}
	services, err := m.ListenService("echo")
	for _, subject := range []string{"small", "large", castSubject, hugeSubject} {
		err = errors.Join(err, m.Handle(subject, take))
	}
	err = errors.Join(err, m.Respond("echo", func(_ context.Context, msg mesh.Message) ([]byte, error) { return msg.Data, nil }))
	if err != nil {
		return nil, err
	}
	var echoes sync.WaitGroup
	echoes.Go(func() {
		for {
			conn, err := services.Accept()
			if err != nil {
				return
			}
			echoes.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // ends with its stream
			})
		}
	})
	t.close = func() {
		t.hush()
		_ = services.Close()
		if err := m.Close(); err != nil {
			t.blame(err)
		}
		echoes.Wait()
	}
	return t, nil
}

// talk begins to say all kinds of things to whoever is linked.
func (t *talker) talk() {
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	for kind, talk := range t.talks() {
		t.work.Go(func() {
			for ctx.Err() == nil {
				t.say(ctx, talk, &t.done[kind])
				time.Sleep(rand.N(talk.pause))
			}
		})
	}
}

// hush ends that.
func (t *talker) hush() {
	if t.stop != nil {
		t.stop()
	}
	t.work.Wait()
}

// say says one thing to somebody, and judges what becomes of it.
func (t *talker) say(ctx context.Context, talk talk, done *atomic.Int64) {
	peers := t.m.Peers()
	if len(peers) == 0 {
		return
	}
	within, cancel := context.WithTimeoutCause(ctx, talkTime, errLate)
	defer cancel()
	n := peers[rand.IntN(len(peers))].Node
	turn := t.ring.turn()
	err := talk.do(within, n)
	if err == nil {
		done.Add(1)
	}
	failed := map[transport.Node]error{n: err}
	switch talk.subject {
	case "": // it has an answer
	case castSubject:
		failed = byNode(err)
		t.count(talk.subject, failed, t.steady)
	default:
		t.count(talk.subject, failed, []transport.Node{n})
	}
	for n, err := range failed {
		switch {
		case err == nil:
		case talk.subject == hugeSubject && errors.Is(err, context.DeadlineExceeded):
			t.givenUp.Add(1)
		case ctx.Err() != nil && errors.Is(err, context.Canceled): // the talk is over
		case !t.excused(n, err, t.ring.changedSince(turn)):
			t.blame(fmt.Errorf("%s to %s, which stays (%t): %w", talk.name, n, slices.Contains(t.steady, n), err))
		}
	}
}

var (
	errOther = errors.New("what came back isn't what was said")
	errLate  = fmt.Errorf("not done in %s", talkTime)
)

func (t *talker) request(ctx context.Context, n transport.Node, size int) error {
	data := t.words(size)
	reply, err := t.m.Request(ctx, n, "echo", data)
	if err == nil && !bytes.Equal(reply, data) {
		return errOther
	}
	return err
}

// huge sends a message that is given up at times, before it is begun or between its
// parts.
func (t *talker) huge(ctx context.Context, n transport.Node) error {
	if rand.N(2) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(hasty))
		defer cancel()
	}
	return t.m.Send(ctx, n, hugeSubject, t.words(hugeData))
}

// stream opens one, and has it echo something.
func (t *talker) stream(ctx context.Context, n transport.Node) error {
	conn, err := t.m.Dial(ctx, n, "echo")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	data := t.words(4 * smallData)
	back := make([]byte, len(data))
	if _, err = conn.Write(data); err == nil {
		_, err = io.ReadFull(conn, back)
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return context.Cause(ctx)
	}
	if err == nil && !bytes.Equal(back, data) {
		return errOther
	}
	return err
}

// setSecrets has the mesh prove others.
func (t *talker) setSecrets(secrets []string) error { return t.m.SetSecrets(secrets) }

// blame keeps the first of what may not be.
func (t *talker) blame(err error) {
	select {
	case t.bad <- err:
	default:
	}
}

// check fails the test if something may not be.
func (t *talker) check(tb testing.TB) {
	tb.Helper()
	select {
	case err := <-t.bad:
		tb.Errorf("%s: %v", t.m.Self(), err)
	default:
	}
}

// linkedWith reports whether those are all its peers.
func (t *talker) linkedWith(nodes []transport.Node) bool {
	var linked []transport.Node
	for _, p := range t.m.Peers() {
		linked = append(linked, p.Node)
	}
	slices.Sort(linked)
	return slices.Equal(linked, nodes)
}
