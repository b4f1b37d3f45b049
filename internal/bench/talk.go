package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// What a message is for: its first byte.
const (
	opCount  = iota // to be counted
	opAsk           // to be sent back
	opAnswer        // comes back
	opLarge         // to be counted; the first has the other side send large ones, too
)

// Talk is what a child does as one of a pair. Its methods are called one at a
// time; what it opens ends with its process.
type Talk struct {
	carrier carrier
	listens bool
	sent    int64     // messages of Flood, or bytes of Write, so far
	came    tally     // the other side's
	large   sync.Once // Pour has begun
	bytes   atomic.Int64
	answers chan struct{}
	stream  net.Conn
}

// TalkArgs says how to talk, and where the other side is; for NATS, where its
// server is.
type TalkArgs struct{ Kind, Addr string }

// Serve runs a NATS server, and returns its address.
func (t *Talk) Serve(_ nothing, addr *string) (err error) {
	*addr, err = serveNATS()
	return err
}

// Listen opens one side, and returns its address.
func (t *Talk) Listen(args TalkArgs, addr *string) (err error) {
	t.listens = true
	t.carrier, *addr, err = listen(args.Kind, args.Addr, t.got)
	return err
}

// Dial opens the other side.
func (t *Talk) Dial(args TalkArgs, _ *nothing) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), talkWithin)
	defer cancel()
	t.answers = make(chan struct{}, 1)
	t.carrier, err = dial(ctx, args.Kind, args.Addr, t.got)
	return err
}

// got is called for each message that comes. answer sends back on the same way.
func (t *Talk) got(data []byte, answer sender) {
	switch data[0] {
	case opCount:
		t.came.add(1)
	case opAsk:
		data[0] = opAnswer
		_ = answer(data) // whoever asked misses it
	case opAnswer:
		t.answers <- struct{}{} // there is room: one asks at a time
	case opLarge:
		t.bytes.Add(int64(len(data)))
		if t.listens {
			t.large.Do(func() { go pourLarge(answer) })
		}
	}
}

// pourLarge sends large messages until that fails.
func pourLarge(send sender) {
	data := bytes.Repeat([]byte{opLarge}, largeSize)
	for send(data) == nil {
	}
}

// FloodArgs says what to send: so many bytes a message, by so many senders at
// once, for so long.
type FloodArgs struct {
	Size, Senders int
	For           time.Duration
}

// Sent is when a sender began, and what it has sent since it was opened.
type Sent struct {
	Began time.Duration // of the machine's monotonic clock
	Total int64
}

// Flood sends messages to be counted, as fast as it can.
func (t *Talk) Flood(args FloodArgs, sent *Sent) (err error) {
	senders := make([]sender, args.Senders)
	for i := range senders {
		if senders[i], err = t.carrier.sender(); err != nil {
			return err
		}
	}
	if sent.Began, err = monotonic(); err != nil {
		return err
	}
	over := after(args.For)
	errs := make(chan error, args.Senders)
	total := new(atomic.Int64)
	for _, send := range senders {
		go func() {
			data := make([]byte, args.Size)
			n, err := int64(0), error(nil)
			for err == nil && !over.Load() {
				err = send(data)
				n++
			}
			total.Add(n)
			errs <- err
		}()
	}
	var all []error
	for range senders {
		all = append(all, <-errs)
	}
	t.sent += total.Load()
	sent.Total = t.sent
	return errors.Join(all...)
}

// after is true after a while. Asking it costs less than asking for the time.
func after(d time.Duration) *atomic.Bool {
	var over atomic.Bool
	time.AfterFunc(d, func() { over.Store(true) })
	return &over
}

// Arrived waits until so much has come in all, and returns when.
func (t *Talk) Arrived(total int64, at *time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), talkWithin)
	defer cancel()
	*at, err = t.came.wait(ctx, total)
	return err
}

// TripArgs says how to go there and back, and for how long.
type TripArgs struct {
	Request bool // by the mesh's Request
	For     time.Duration
}

// Trips sends to be sent back, one at a time, and returns how long each took.
func (t *Talk) Trips(args TripArgs, took *[]time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), args.For+talkWithin)
	defer cancel()
	ask, err := t.asker(ctx, args.Request)
	if err != nil {
		return err
	}
	data := make([]byte, tripSize)
	all := make([]time.Duration, 0, 1<<18)
	began := time.Now()
	for last := began; ; {
		data[0] = opAsk
		if err := ask(data); err != nil {
			return err
		}
		now := time.Now()
		all = append(all, now.Sub(last))
		if now.Sub(began) >= args.For {
			*took = all
			return nil
		}
		last = now
	}
}

// asker returns what sends, and returns when the answer has come.
func (t *Talk) asker(ctx context.Context, request bool) (sender, error) {
	if request {
		return func(data []byte) error { return t.carrier.(*meshCarrier).ask(ctx, data) }, nil
	}
	send, err := t.carrier.sender()
	return func(data []byte) error {
		if err := send(data); err != nil {
			return err
		}
		select {
		case <-t.answers:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for an answer: %w", context.Cause(ctx))
		}
	}, err
}

// Pour begins to send large messages, and has the other side do so, too.
func (t *Talk) Pour(nothing, *nothing) error {
	send, err := t.carrier.sender()
	if err == nil {
		go pourLarge(send)
	}
	return err
}

// Usage is what a process has used, and what has happened in it.
type Usage struct {
	At      time.Duration // of the machine's monotonic clock
	CPU     time.Duration
	Mallocs uint64
	Bytes   int64 // of large messages that have come
	Pings   int64 // of the mesh's links, that were answered
	Downs   int64 // of the mesh's links
}

// Usage returns that of this process so far.
func (t *Talk) Usage(_ nothing, u *Usage) (err error) {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	u.Mallocs, u.Bytes = s.Mallocs, t.bytes.Load()
	if m, ok := t.carrier.(*meshCarrier); ok {
		u.Pings, u.Downs = m.pings.Load(), m.downs.Load()
	}
	if u.At, err = monotonic(); err != nil {
		return err
	}
	u.CPU, err = cpuTime()
	return err
}

// Accept has this side of streams read all that comes.
func (t *Talk) Accept(kind string, addr *string) error {
	l, at, err := listenStreams(kind)
	if err != nil {
		return err
	}
	*addr = at
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // Arrived tells
			}
			go t.drain(conn)
		}
	}()
	return nil
}

func (t *Talk) drain(r io.Reader) {
	b := make([]byte, writeSize)
	for {
		n, err := r.Read(b)
		t.came.add(int64(n))
		if err != nil {
			return
		}
	}
}

// Open opens a stream.
func (t *Talk) Open(args TalkArgs, _ *nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), talkWithin)
	defer cancel()
	open, err := dialStreams(ctx, args.Kind, args.Addr)
	if err != nil {
		return err
	}
	t.stream, err = open()
	return err
}

// Write writes to the stream as fast as it can.
func (t *Talk) Write(d time.Duration, sent *Sent) (err error) {
	data := make([]byte, writeSize)
	if sent.Began, err = monotonic(); err != nil {
		return err
	}
	for over := after(d); err == nil && !over.Load(); {
		_, err = t.stream.Write(data)
		t.sent += writeSize
	}
	sent.Total = t.sent
	return err
}

// A tally counts what comes, and notes when all has that is waited for.
type tally struct {
	n    atomic.Int64
	goal atomic.Pointer[tallied]
}

type tallied struct {
	total int64
	moment
}

func (t *tally) add(n int64) {
	sum := t.n.Add(n)
	if g := t.goal.Load(); g != nil && sum >= g.total {
		g.now()
	}
}

// wait returns when the sum has come to total; if it has already, it returns the
// time of the call.
func (t *tally) wait(ctx context.Context, total int64) (time.Duration, error) {
	g := &tallied{total: total, moment: moment{happened: make(chan struct{})}}
	t.goal.Store(g)
	defer t.goal.Store(nil)
	if t.n.Load() >= total {
		g.now()
	}
	at, err := g.wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("%d of %d have come: %w", t.n.Load(), total, err)
	}
	return at, nil
}
