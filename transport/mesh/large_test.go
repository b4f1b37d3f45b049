package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// frameNames tells what frames there are in b: of a part, whose it is.
func frameNames(t *testing.T, b []byte) (names []string) {
	t.Helper()
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		kind, payload, err := readFrame(r, maxWhole)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case framePing:
			names = append(names, "ping")
		case frameMessage:
			_, data, _ := decodeMessage(payload)
			names = append(names, string(data))
		case frameLarge:
			names = append(names, fmt.Sprint("large ", binary.BigEndian.Uint32(payload)))
		case framePart:
			names = append(names, fmt.Sprintf("part %d of %d", binary.BigEndian.Uint32(payload), len(payload)-partHead))
		case frameLast:
			names = append(names, "last")
		default:
			t.Fatalf("type %d", kind)
		}
	}
	return names
}

// TestOutboxTakesTurns: control frames go first, then messages and parts in
// turn, a part of each subject; those of one subject one after the other; the
// last frame at the very end.
func TestOutboxTakesTurns(t *testing.T) {
	const size = 70_000 // two whole parts and one of 4,467 bytes, with what stands before the data
	o := outbox{limit: 1 << 20, buffers: &writeBuffers{}, start: func(func()) {}}
	begin := func(subject string) *transfer {
		tr, err := o.begin(&letter{t: frameMessage, subject: subject, data: make([]byte, size)})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	small := func(data string) {
		if _, err := o.send(&letter{t: frameMessage, subject: "a", data: []byte(data)}, false); err != nil {
			t.Fatal(err)
		}
	}
	first, second, other := begin("a"), begin("a"), begin("b")
	small("one")
	small("two")
	var got []string
	for i := range 20 {
		switch i {
		case 2:
			o.urge(framePing, make([]byte, pingSize))
			small("three")
		case 5:
			if !o.giveUp(second) || o.giveUp(second) {
				t.Error("the second can be given up once")
			}
			o.retire()
		}
		b, next := o.next()
		if next == nextDone {
			break
		}
		got = append(got, strings.Join(frameNames(t, b), ", "))
	}
	rest := len("\x01a") + size - 2*partSize
	want := []string{
		"one, two",
		"large 1, part 1 of 32736",
		"ping, three", // few messages go with it
		"large 3, part 3 of 32736",
		"part 1 of 32736",
		"part 3 of 32736",
		fmt.Sprintf("part 1 of %d", rest),
		fmt.Sprintf("part 3 of %d", rest),
		"last",
	}
	// The second is given up before it has begun, so nothing is said of it.
	if !slices.Equal(got, want) {
		t.Errorf("it writes %q, want %q", got, want)
	}
	for i, tr := range []*transfer{first, other} {
		if err := <-tr.done; err != nil {
			t.Errorf("transfer %d: %v", i, err)
		}
	}
}

// TestLargeAndSmallStayInOrder: messages of one subject, of which each may be
// large or small, while links replace each other.
func TestLargeAndSmallStayInOrder(t *testing.T) {
	t.Parallel()
	const messages = 400
	sizes := []int{0, 10, 1000, 60_000, 70_000, 300_000, 10, 2_000_000}
	window, failed := make(chan struct{}, 8), make(chan string, messages)
	next := uint64(0)
	a := listen(t, nil)
	b := listen(t, func(c *Config) {
		c.ReceiveQueue = 100 << 20
		c.Handlers = map[string]Handler{"n": func(_ context.Context, m Message) {
			got := binary.BigEndian.Uint64(m.Data)
			if want := 8 + sizes[got%uint64(len(sizes))]; got != next || len(m.Data) != want {
				failed <- fmt.Sprintf("message %d of %d bytes came where %d was due, of %d", got, len(m.Data), next, want)
			}
			next = got + 1
			<-window
		}}
	})
	connect(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var dialers sync.WaitGroup
	dialers.Go(func() { dialOften(t, ctx, a, b.Self().Addr(), 100) })
	dialers.Go(func() { dialOften(t, ctx, b, a.Self().Addr(), 100) })
	for i := range uint64(messages) {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			t.Fatalf("messages before %d are lost", i)
		}
		data := make([]byte, 8+sizes[i%uint64(len(sizes))])
		binary.BigEndian.PutUint64(data, i)
		if err := a.Send(ctx, b.Self(), "n", data); err != nil {
			t.Fatal(err)
		}
	}
	dialers.Wait()
	for range cap(window) {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			t.Fatal("messages are lost")
		}
	}
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	if n := b.large.used.Load(); n != 0 {
		t.Errorf("%d bytes of the budget are still held", n)
	}
}

// TestASmallOneOvertakes: on a line that takes seconds for a large message, a
// small one of another subject, a request and the pings come through meanwhile.
func TestASmallOneOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, perSecond = 16 << 20, 1 << 20
		net := newFakeNet()
		net.perSecond = perSecond
		large, small := make(chan time.Time, 1), make(chan time.Time, 1)
		a := net.listen(t, 0, nil)
		b := net.listen(t, 1, func(c *Config) {
			c.Handlers = map[string]Handler{
				"large": func(context.Context, Message) { large <- time.Now() },
				"small": func(context.Context, Message) { small <- time.Now() },
			}
			c.Responders = map[string]Responder{"echo": func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil }}
		})
		connect(t, a, b)
		events := a.Events(t.Context())
		<-events // the snapshot
		began := time.Now()
		sent := make(chan error, 1)
		go func() { sent <- a.Send(t.Context(), b.Self(), "large", make([]byte, size)) }()
		for range 5 {
			time.Sleep(time.Second)
			at := time.Now()
			if err := a.Send(t.Context(), b.Self(), "small", nil); err != nil {
				t.Fatal(err)
			}
			if took := (<-small).Sub(at); took > 100*time.Millisecond {
				t.Errorf("a small message takes %s", took)
			}
			at = time.Now()
			if _, err := a.Request(t.Context(), b.Self(), "echo", []byte("hello")); err != nil || time.Since(at) > 200*time.Millisecond {
				t.Errorf("a request takes %s: %v", time.Since(at), err)
			}
		}
		if took := (<-large).Sub(began); took < size/perSecond*time.Second {
			t.Errorf("the large one takes %s, which the line can't do", took)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		for len(events) > 0 {
			t.Errorf("the link flapped: %+v", <-events)
		}
	})
}

// TestALargeOneIsGivenUp with its context in the middle, and nothing of it is
// left: neither with the receiver, nor in the way of the next.
func TestALargeOneIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.perSecond = 1 << 20
		got := make(chan int, 1)
		a := net.listen(t, 0, nil)
		b := net.listen(t, 1, func(c *Config) {
			c.Handlers = map[string]Handler{"s": func(_ context.Context, m Message) { got <- len(m.Data) }}
		})
		connect(t, a, b)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := a.Send(ctx, b.Self(), "s", make([]byte, 8<<20)); !errors.Is(err, ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send: %v, want ErrQueueFull and the context's cause", err)
		}
		if n := b.large.used.Load(); n < 8<<20 {
			t.Errorf("the receiver holds %d bytes in the middle: the test is void", n)
		}
		again, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := a.Request(again, b.Self(), "s", make([]byte, 8<<20)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("Request: %v, want ErrQueueFull", err)
		}
		if err := a.Send(t.Context(), b.Self(), "s", make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 100_000 {
			t.Errorf("%d bytes come", n)
		}
		synctest.Wait()
		if n := b.large.used.Load(); n != 0 {
			t.Errorf("%d bytes of the budget are still held", n)
		}
	})
}

// TestAGoodbyeOvertakesBulk: a node that leaves while a large message is on its
// way for long is seen to leave, and who sends it is told.
func TestAGoodbyeOvertakesBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.perSecond = 1 << 20
		a, b := net.listen(t, 0, nil), net.listen(t, 1, nil)
		connect(t, a, b)
		events := b.Events(t.Context())
		sent := make(chan error, 2)
		for _, subject := range []string{"s", "s"} { // the second doesn't begin
			go func() { sent <- a.Send(t.Context(), b.Self(), subject, make([]byte, 16<<20)) }()
		}
		time.Sleep(time.Second)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-sent; !errors.Is(err, ErrDown) {
				t.Errorf("Send: %v, want ErrDown", err)
			}
		}
		if down := nextDown(t, events); down.Reason != ReasonLeft {
			t.Errorf("down: %+v", down)
		}
	})
}

// TestNoRoomForLargeOnes: what is beyond ReceiveLarge for all peers together is
// dropped, or refused with an error; later ones are taken again.
func TestNoRoomForLargeOnes(t *testing.T) {
	const size = 1 << 20
	logs := newLogBook(nil)
	release, got := make(chan struct{}), make(chan struct{}, 9)
	b := listen(t, func(c *Config) {
		c.MaxMessage, c.ReceiveLarge, c.Logger = size, 2*size+1000, slog.New(logs)
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) { got <- struct{}{} }}
		c.Responders = map[string]Responder{
			"hold": func(context.Context, Message) ([]byte, error) { got <- struct{}{}; <-release; return nil, nil },
			"echo": func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil },
		}
	})
	peers := []*Mesh{listen(t, nil), listen(t, nil)}
	var held sync.WaitGroup
	for _, p := range peers {
		connect(t, p, b)
		held.Go(func() {
			if _, err := p.Request(t.Context(), b.Self(), "hold", make([]byte, size)); err != nil {
				t.Error(err)
			}
		})
		<-got
	}
	if _, err := peers[0].Request(t.Context(), b.Self(), "echo", make([]byte, size)); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a large request: %v, want ErrOverloaded", err)
	}
	if err := peers[1].Respond("large", func(context.Context, Message) ([]byte, error) { return make([]byte, size), nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Request(t.Context(), peers[1].Self(), "large", nil); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a large reply: %v, want ErrOverloaded", err)
	}
	if err := peers[0].Send(t.Context(), b.Self(), "s", make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := peers[0].Send(t.Context(), b.Self(), "nobody's", nil); err != nil {
		t.Fatal(err)
	}
	if reply, err := peers[0].Request(t.Context(), b.Self(), "echo", []byte("small")); err != nil || string(reply) != "small" {
		t.Errorf("a small request, which comes after the message: %q, %v", reply, err)
	}
	counts := b.Stats()
	counts.Handshakes = 0
	if want := (Stats{Dropped: 1, Unhandled: 1, Overloaded: 1}); counts != want {
		t.Errorf("it counts %+v, want %+v", counts, want)
	}
	close(release)
	held.Wait()
	if reply, err := peers[0].Request(t.Context(), b.Self(), "echo", make([]byte, size)); err != nil || len(reply) != size {
		t.Errorf("when there is room again: %d bytes, %v", len(reply), err)
	}
	if n := logs.lines("too many large messages at once, dropping more"); n != 2 {
		t.Errorf("it is logged %d times, want once for each peer", n)
	}
}

// TestWhoBeginsAndDoesntFinish is closed at a bound, and holds nothing after.
func TestWhoBeginsAndDoesntFinish(t *testing.T) {
	m, i := listen(t, nil), newIntruder(t)
	events := m.Events(t.Context())
	conn, err := i.link(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	frames := appendFrame(nil, frameBegin, encodeBegin(linkID{}, 1))
	for n := range uint32(10) { // of which four fill what may be open
		frames = appendFrame(frames, frameLarge, encodeLarge(n, frameMessage, 10<<20))
		frames = appendFrame(frames, framePart, binary.BigEndian.AppendUint32(nil, n), []byte("\x01sdata"))
	}
	if _, err := conn.Write(frames); err != nil {
		t.Fatal(err)
	}
	if down := nextDown(t, events); down.Reason != ReasonLost {
		t.Errorf("down: %+v", down)
	}
	if n := m.large.used.Load(); n != 0 {
		t.Errorf("%d bytes of the budget are still held", n)
	}
}

func TestArrivals(t *testing.T) {
	const kib, size = 1 << 10, 100_000
	most := func(frameType) int { return 12 << 20 }
	type step struct {
		number uint32
		length int // of a large frame; a part of that many bytes if it is negative
	}
	part := func(number uint32, n int) step { return step{number, -n} }
	tests := []struct {
		name   string
		steps  []step
		budget int
		broken bool // at the last step
		done   int  // how many are complete, or refused
		held   int64
	}{
		{"whole", []step{{1, size}, part(1, 60_000), part(1, 40_000)}, size, false, 1, size},
		{"two in turn", []step{{1, size}, {2, size}, part(1, 60_000), part(2, 60_000), part(1, 40_000), part(2, 40_000)}, 2 * size, false, 2, 2 * size},
		{"no room", []step{{1, size}, part(1, 3), part(1, 20), part(1, 60_000), part(1, 39_977)}, size - 1, false, 1, 0},
		{"a number again", []step{{1, size}, part(1, 60_000), part(1, 40_000), {1, size}}, size, false, 1, size},
		{"given up", []step{{1, size}, part(1, 10), {1, 0}, {1, size}, part(1, 10)}, size, false, 0, size},
		{"given up before the first part", []step{{1, size}, {1, 0}}, size, false, 0, 0},
		{"too long for its kind", []step{{1, 12<<20 + 1}}, size, true, 0, 0},
		{"too short", []step{{1, maxWhole}}, size, true, 0, 0},
		{"open already", []step{{1, size}, {1, size}}, size, true, 0, 0},
		{"not open", []step{{1, size}, part(2, 10)}, size, true, 0, 0},
		{"longer than it said", []step{{1, maxWhole + 1}, part(1, 64*kib), part(1, kib), part(1, 2)}, size, true, 0, maxWhole + 1},
		{"one more than may be open", []step{{1, 12 << 20}, {2, 12 << 20}, {3, 12 << 20}, {4, size}}, size, true, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			as := arrivals{budget: &budget{most: int64(tt.budget)}}
			done := 0
			for i, s := range tt.steps {
				var a *arrival
				var err error
				if s.length > 0 {
					err = as.begin(encodeLarge(s.number, frameMessage, s.length), most)
				} else {
					b := append(binary.BigEndian.AppendUint32(nil, s.number), make([]byte, -s.length)...)
					a, err = as.part(bytes.NewReader(b), len(b))
				}
				if a != nil {
					done++
				}
				if broken := tt.broken && i == len(tt.steps)-1; broken != errors.Is(err, ErrProtocol) || !broken && err != nil {
					t.Errorf("step %d: %v", i, err)
				}
			}
			if held := as.budget.used.Load(); done != tt.done || held != tt.held {
				t.Errorf("%d are done and %d bytes held, want %d and %d", done, held, tt.done, tt.held)
			}
			as.end()
			if as.bytes != 0 || len(as.open) != 0 {
				t.Errorf("%d bytes of %d are open after the end", as.bytes, len(as.open))
			}
		})
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add((&letter{t: frameRequest, id: 1, subject: "s", data: []byte("data")}).append(nil)[headerSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		id, subject, data, err := decodeRequest(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		l := letter{t: frameRequest, id: id, subject: string(subject), data: data}
		if again := l.append(nil)[headerSize:]; !bytes.Equal(again, b) || l.size() != len(b) {
			t.Fatalf("%x comes back as %x", b, again)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add((&letter{t: frameReply, id: 1, status: statusError, data: []byte("text")}).append(nil)[headerSize:])
	f.Add((&letter{t: frameReply, id: 1, status: 99}).append(nil)[headerSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		id, s, data, err := decodeReply(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		l := letter{t: frameReply, id: id, status: s, data: data}
		if again := l.append(nil)[headerSize:]; !bytes.Equal(again, b) || l.size() != len(b) {
			t.Fatalf("%x comes back as %x", b, again)
		}
		if (s.err(data) == nil) != (s == statusOK) {
			t.Fatalf("status %d is %v", s, s.err(data))
		}
	})
}

// FuzzArrivals: whatever comes as large and part frames, what is complete is what
// the parts say, and what is held is what is open or complete.
func FuzzArrivals(f *testing.F) {
	tr := newTransfer(&letter{t: frameMessage, subject: "s", data: bytes.Repeat([]byte("0123456789"), 10_000)})
	b := bulk{}
	b.add("s", tr)
	var whole []byte
	for !b.empty() {
		whole = b.next(whole)
	}
	f.Add(whole, 1<<20)
	f.Add(slices.Concat(whole[:50_000], whole), 200_000)
	f.Add(append(appendFrame(nil, frameLarge, encodeLarge(1, frameRequest, 70_000)), appendFrame(nil, framePart, []byte{0, 0, 0, 1})...), 0)
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		as := arrivals{budget: &budget{most: int64(most)}}
		want := map[uint32][]byte{}
		held := int64(0)
		r := bytes.NewReader(b)
		for {
			kind, payload, err := readFrame(r, maxWhole)
			if err != nil {
				break
			}
			if kind == frameLarge {
				if as.begin(payload, func(t frameType) int { n, _ := mostOf(t); return n }) != nil {
					break
				}
				want[binary.BigEndian.Uint32(payload)] = nil
				continue
			}
			a, err := as.part(bytes.NewReader(payload), len(payload))
			if err != nil {
				if !errors.Is(err, ErrProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			number := binary.BigEndian.Uint32(payload)
			want[number] = append(want[number], payload[partHead:]...)
			if a != nil && !a.skipped() {
				if !bytes.Equal(a.payload, want[number]) || len(a.payload) != a.length {
					t.Fatalf("%d bytes are put together as %d", len(want[number]), len(a.payload))
				}
				held += int64(a.length)
			}
		}
		if as.bytes > maxOpen+maxMessageLimit+1<<10 {
			t.Fatalf("%d bytes are open", as.bytes)
		}
		as.end()
		if got := as.budget.used.Load(); got != held {
			t.Fatalf("%d bytes are held, want %d", got, held)
		}
	})
}

// TestWhatIsGivenUpIsToldFirst: whatever is sent, given up and urged, the receiver
// never counts more open bytes than the sender.
func TestWhatIsGivenUpIsToldFirst(t *testing.T) {
	t.Parallel()
	data := make([]byte, 16<<20)
	for seed := range uint64(30) {
		r := mathrand.New(mathrand.NewPCG(seed, 1))
		o := outbox{limit: 64 << 10, buffers: &writeBuffers{}, start: func(func()) {}}
		as := arrivals{budget: &budget{most: 1 << 30}}
		var open []*transfer
		for range 1000 {
			switch k := r.IntN(20); {
			case k < 2 && len(open) < 12:
				subject := fmt.Sprint(r.IntN(6))
				tr, err := o.begin(&letter{t: frameMessage, subject: subject, data: data[:70_000+r.IntN(len(data)-70_000)]})
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, tr)
			case k < 3 && len(open) > 0:
				i := r.IntN(len(open))
				o.giveUp(open[i])
				open = slices.Delete(open, i, i+1)
			case k < 6:
				if _, err := o.send(&letter{t: frameMessage, subject: "s", data: data[:r.IntN(3000)]}, false); err != nil {
					t.Fatal(err)
				}
			case k < 8:
				o.urge(framePing, make([]byte, pingSize))
			default:
				b, _ := o.next()
				if err := as.take(b); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
	}
}

// take reads what an outbox has written, and keeps none of it.
func (as *arrivals) take(b []byte) error {
	for r := bytes.NewReader(b); r.Len() > 0; {
		var h [headerSize]byte
		_, _ = io.ReadFull(r, h[:])
		ft, n := parseHeader(h)
		switch ft {
		case frameLarge:
			payload := make([]byte, n)
			_, _ = io.ReadFull(r, payload)
			most := func(t frameType) int { n, _ := mostOf(t); return n }
			if err := as.begin(payload, most); err != nil {
				return err
			}
		case framePart:
			whole, err := as.part(r, n)
			if err != nil {
				return err
			}
			if whole != nil && !whole.skipped() {
				as.budget.give(whole.length)
			}
		default:
			_, _ = r.Seek(int64(n), io.SeekCurrent)
		}
	}
	return nil
}
