package processes_test

import (
	"bytes"
	"context"
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
	talkTime = 20 * time.Second
	// usualPause and hugePause are the longest between two of a kind, in which
	// others get to speak.
	usualPause = 2 * time.Millisecond
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

	done    [kinds]atomic.Int64 // what went well, by kind
	givenUp atomic.Int64        // huge messages that were not done in their time
	bad     chan error          // what may not be
}

// A talk is one kind of what is said to a node.
type talk struct {
	name  string
	pause time.Duration
	do    func(ctx context.Context, n transport.Node) error
}

const kinds = 7

func (t *talker) talks() [kinds]talk {
	return [...]talk{
		{"messages", usualPause, func(ctx context.Context, n transport.Node) error {
			return t.m.Send(ctx, n, "small", pattern(smallData))
		}},
		{"large messages", usualPause, func(ctx context.Context, n transport.Node) error {
			return t.m.Send(ctx, n, "large", pattern(largeData))
		}},
		{"broadcasts", usualPause, func(ctx context.Context, _ transport.Node) error {
			return t.m.Broadcast(ctx, "small", pattern(smallData))
		}},
		{"requests", usualPause, func(ctx context.Context, n transport.Node) error { return t.request(ctx, n, smallData) }},
		{"large requests", usualPause, func(ctx context.Context, n transport.Node) error { return t.request(ctx, n, largeData) }},
		{"streams", usualPause, t.stream},
		{"huge messages", hugePause, t.huge},
	}
}

// patternPeriod is after how many bytes a pattern repeats.
const patternPeriod = 256

// pattern is data of which it can be seen that they came through whole.
func pattern(n int) []byte {
	b := make([]byte, n)
	first := byte(rand.Uint32())
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func isPattern(b []byte) bool {
	for i := range b {
		if b[i] != b[0]+byte(i) {
			return false
		}
	}
	return true
}

// newTalker has a mesh answer whatever others say.
func newTalker(m *mesh.Mesh) (*talker, error) {
	t := &talker{m: m, bad: make(chan error, 1)}
	take := func(_ context.Context, msg mesh.Message) {
		if !isPattern(msg.Data) {
			t.blame(fmt.Errorf("a message of %d bytes from %s has come to harm", len(msg.Data), msg.From))
		}
	}
	services, err := m.ListenService("echo")
	err = errors.Join(err, m.Handle("small", take), m.Handle("large", take),
		m.Respond("echo", func(_ context.Context, msg mesh.Message) ([]byte, error) { return msg.Data, nil }))
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

// say says one thing to somebody. That they go away is no failure.
func (t *talker) say(ctx context.Context, talk talk, done *atomic.Int64) {
	peers := t.m.Peers()
	if len(peers) == 0 {
		return
	}
	within, cancel := context.WithTimeoutCause(ctx, talkTime, errLate)
	defer cancel()
	n := peers[rand.IntN(len(peers))].Node
	err := talk.do(within, n)
	switch {
	case err == nil:
		done.Add(1)
	case errors.Is(err, errHarm), errors.Is(err, errLate):
		t.blame(fmt.Errorf("%s to %s: %w", talk.name, n, err))
	case errors.Is(err, context.DeadlineExceeded): // of a huge message; others end with errLate
		t.givenUp.Add(1)
	}
}

var (
	errHarm = errors.New("what came back isn't what was said")
	errLate = fmt.Errorf("not done in %s", talkTime)
)

func (t *talker) request(ctx context.Context, n transport.Node, size int) error {
	data := pattern(size)
	reply, err := t.m.Request(ctx, n, "echo", data)
	if err == nil && !bytes.Equal(reply, data) {
		return errHarm
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
	return t.m.Send(ctx, n, "large", bytes.Repeat(pattern(patternPeriod), hugeData/patternPeriod))
}

// stream opens one, and has it echo something.
func (t *talker) stream(ctx context.Context, n transport.Node) error {
	conn, err := t.m.Dial(ctx, n, "echo")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	data := pattern(4 * smallData)
	if _, err = conn.Write(data); err != nil {
		return err
	}
	back := make([]byte, len(data))
	if _, err := io.ReadFull(conn, back); err != nil {
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			return context.Cause(ctx)
		}
		return err
	}
	if !bytes.Equal(back, data) {
		return errHarm
	}
	return nil
}

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
