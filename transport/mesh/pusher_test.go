//go:build unix

package mesh

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestPusherKeepsTheOrder: what is written without waiting, with waiting, and by
// TLS, comes out the same, whatever the system took at once.
func TestPusherKeepsTheOrder(t *testing.T) {
	config, err := secretTLS()
	if err != nil {
		t.Fatal(err)
	}
	accepted, raw := exactPair(t)
	if err := accepted.Conn.(*net.TCPConn).SetWriteBuffer(16 << 10); err != nil { //nolint:forcetypeassert // it is one
		t.Fatal(err)
	}
	server, client := tls.Server(accepted, config), tls.Client(raw, config)
	sent := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	var both sync.WaitGroup
	stayed := 0
	both.Go(func() {
		sizes := rand.New(rand.NewPCG(1, 1))
		for rest := sent; len(rest) > 0; {
			n := min(1+sizes.IntN(200_000), len(rest))
			write := func() error { _, err := server.Write(rest[:n]); return err }
			var err error
			switch sizes.IntN(3) {
			case 0:
				err = write()
			case 1:
				err = accepted.out.flush()
				n = 0
			default:
				var left bool
				if left, err = accepted.out.hurry(write); left {
					stayed++
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		if err := errors.Join(accepted.out.flush(), server.CloseWrite()); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes come out as %d, %v", len(sent), len(got), err)
		}
	})
	both.Wait()
	if stayed == 0 || accepted.out.left != nil {
		t.Errorf("%d times some stayed behind; at the end %d bytes: the test is void", stayed, len(accepted.out.left))
	}
}

// TestAHurryDoesntWait, though the other end reads nothing.
func TestAHurryDoesntWait(t *testing.T) {
	accepted, _ := exactPair(t)
	data := make([]byte, 1<<20)
	for left := false; !left; { // until the system takes no more
		var err error
		if left, err = accepted.out.hurry(func() error { _, err := accepted.Write(data); return err }); err != nil {
			t.Fatal(err)
		}
	}
	before := slices.Clone(accepted.out.left)
	if left, err := accepted.out.hurry(func() error { _, err := accepted.Write([]byte("more")); return err }); !left || err != nil {
		t.Errorf("one more: %v, %v", left, err)
	}
	if want := slices.Concat(before, []byte("more")); !bytes.Equal(accepted.out.left, want) {
		t.Errorf("%d bytes stay behind, want %d", len(accepted.out.left), len(want))
	}
	_ = accepted.SetDeadline(time.Unix(1, 0))
	if err := accepted.out.flush(); err == nil {
		t.Error("a flush that can't be waited for says nothing")
	}
}

// TestSendDoesntWaitForAWrite: to a peer that reads nothing any more, those who
// write by themselves return at once, until the queue is full.
func TestSendDoesntWaitForAWrite(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	var frozen sync.RWMutex
	r := startRelay(t, b.Addr().String(), waitFor(&frozen))
	if err := a.dial(t.Context(), target{addr: r.addr()}, nil); err != nil {
		t.Fatal(err)
	}
	frozen.Lock()
	defer frozen.Unlock()
	const limit = 200 * time.Millisecond
	send := func() (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began := time.Now()
		err := a.Send(ctx, b.Self(), "s", make([]byte, 10_000))
		return time.Since(began), err
	}
	took, err := send()
	for ; err == nil; took, err = send() {
		time.Sleep(2 * burst) // so that the next writes by itself, too
	}
	if !errors.Is(err, ErrQueueFull) || took > limit+a.cfg.DownAfter/2 {
		t.Errorf("Send: %v after %s, want ErrQueueFull after %s", err, took, limit)
	}
}

// TestAllocations: none for a Send, and one for a delivery, of which the data are
// made. Each side is measured without the other and without TLS, which allocates for
// each record, and then both with all that.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; this runs without it in CI")
	}
	const batch, few = 1000, 0.05 // for what the collector takes out of the pools meanwhile
	for _, size := range []int{64, 1 << 10} {
		done := make(chan struct{}, 1)
		n := 0
		from, to := linked(t, func() {
			if n++; n%batch == 0 {
				done <- struct{}{}
			}
		})
		data, node, ctx := make([]byte, size), to.Self(), t.Context()
		send := func(wait func()) {
			for range batch {
				wait()
				if err := from.Send(ctx, node, "s", data); err != nil {
					t.Fatal(err)
				}
			}
		}
		atOnce := func() {}
		each := func(f func()) float64 { return testing.AllocsPerRun(20, f) / batch }
		receive := receiver(onlyPeer(t, to), bytes.Repeat((&letter{t: frameMessage, subject: "s", data: data}).append(nil), batch))
		whole := each(func() { send(atOnce); <-done })
		delivered := each(func() { receive(); <-done })
		out := &onlyPeer(t, from).active.out
		tries := sink(out)
		queued := each(func() { send(atOnce); out.run() })
		before := *tries
		written := each(func() { send(out.awaitIdle) })
		if *tries-before < 20*batch {
			t.Errorf("%d times a sender wrote by itself: the test is void", *tries-before)
		}
		for _, m := range []struct {
			what       string
			got, limit float64
		}{
			{"sent and delivered, with the records of TLS,", whole, 1.5},
			{"delivered", delivered, 1 + few},
			{"queued", queued, few},
			{"written by its sender", written, few},
		} {
			t.Logf("%d bytes: %.3f allocations for each that is %s", size, m.got, m.what)
			if m.got > m.limit {
				t.Errorf("%d bytes: %.3f allocations for each that is %s; want at most %.2f", size, m.got, m.what, m.limit)
			}
		}
	}
}

// awaitIdle returns when whoever sends next writes by itself. Its caller writes what
// has been queued meanwhile, as a digest, since nobody else does.
func (o *outbox) awaitIdle() {
	for {
		o.mu.Lock()
		idle, quiet := o.idle(), time.Since(o.wrote) >= burst
		o.mu.Unlock()
		switch {
		case !idle:
			o.run()
		case quiet:
			return
		}
	}
}

func onlyPeer(t *testing.T, m *Mesh) *peer {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		return p
	}
	t.Fatal("there is no peer")
	return nil
}

// receiver returns a func that takes frames as if they came from a peer.
func receiver(p *peer, frames []byte) func() {
	return func() {
		l := link{m: p.in.m, peer: p, batch: batch{peer: p}, opened: true, conn: recorded{r: bytes.NewReader(frames)}}
		_ = l.readFrames() // ends with the frames
		l.flush()
	}
}

// recorded is read from.
type recorded struct {
	net.Conn
	r *bytes.Reader
}

func (c recorded) Read(b []byte) (int, error) { return c.r.Read(b) }

// sink has what is sent go nowhere, either at once or when run is called, and counts
// how often a sender writes by itself.
func sink(o *outbox) (tries *int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tries = new(int)
	o.limit = 1 << 30
	o.start = func(func()) {}
	o.write, o.try = func([]byte) {}, func([]byte) bool { *tries++; return true }
	return tries
}

// TestASenderStartsNothingAfterTheEnd: whoever writes in place of the writer may
// still do so when the link ends, after which the mesh has joined the writers.
func TestASenderStartsNothingAfterTheEnd(t *testing.T) {
	o := outbox{limit: 1 << 20, buffers: &writeBuffers{}, start: func(func()) { t.Error("a writer is started") }}
	o.try = func([]byte) bool {
		o.close(CodeLeft, "bye") // is for the sender to go on with
		o.fail()
		return true
	}
	if _, err := o.send(&letter{t: frameMessage, subject: "s"}, true); err != nil {
		t.Error(err)
	}
}
