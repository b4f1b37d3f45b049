package main

import (
	"context"
	"fmt"
)

// exchanged is how much goes each way on every link.
const exchanged = 256 << 10

// memoryCase measures what one side of an idle link takes: one endpoint has n
// of them, whose other ends are in another process. It has dialled half of
// them, and accepted the others.
func memoryCase(n int) benchCase {
	return benchCase{
		name: fmt.Sprintf("memory of %d idle links", n),
		metrics: []metric{
			{name: "live, when fresh", unit: unitBytes, peer: kindBare, goal: atMost(1.1).ofPeer()},
			{name: "held, when fresh", unit: unitBytes, peer: kindBare},
			{name: "live, after 256 KiB each way", unit: unitBytes, peer: kindBare, goal: atMost(0.6).ofPeer()},
			{name: "held, after 256 KiB each way", unit: unitBytes, peer: kindBare},
		},
		run: func(ctx context.Context, round int) ([]reading, error) {
			var ours, theirs held
			err := inTurn(round,
				func() (err error) { ours, err = hold(ctx, n, kindMesh); return err },
				func() (err error) { theirs, err = hold(ctx, n, kindBare); return err })
			return []reading{
				{ours.fresh.Live, theirs.fresh.Live},
				{ours.fresh.Held, theirs.fresh.Held},
				{ours.used.Live, theirs.used.Live},
				{ours.used.Held, theirs.used.Held},
			}, err
		},
	}
}

// held is what one link takes, when fresh and after the exchange.
type held struct{ fresh, used Footprint }

func hold(ctx context.Context, n int, kind string) (h held, err error) {
	both, err := startCrowd(ctx, 2)
	if err != nil {
		return held{}, err
	}
	defer both.stop()
	holder, ends := both[0], both[1]
	var addr, dials []string
	if err := holder.call("Links.Open", OpenArgs{Kind: kind, N: 1}, &addr); err != nil {
		return held{}, err
	}
	if err := ends.call("Links.Open", OpenArgs{Kind: kind, N: n}, &dials); err != nil {
		return held{}, err
	}
	var empty, fresh, used Footprint
	if err := holder.call("Links.Memory", 0, &empty); err != nil {
		return held{}, err
	}
	if err := holder.call("Links.Dial", dials[:n/2], new(nothing)); err != nil {
		return held{}, err
	}
	if err := ends.call("Links.DialFrom", DialArgs{From: n / 2, To: addr[0]}, new(nothing)); err != nil {
		return held{}, err
	}
	if err := holder.call("Links.Memory", n, &fresh); err != nil {
		return held{}, err
	}
	exchange := both.begin("Links.Exchange", func(int) any { return exchanged }, none)
	if err := exchange(); err != nil {
		return held{}, err
	}
	if err := holder.call("Links.Memory", n, &used); err != nil {
		return held{}, err
	}
	return held{fresh: fresh.minus(empty, n), used: used.minus(empty, n)}, nil
}

// Links is what a child does as one of the two sides. Its methods are called
// one at a time.
type Links struct{ ends []endpoint }

// OpenArgs says what to open: so many endpoints of a kind.
type OpenArgs struct {
	Kind string
	N    int
}

// Open opens endpoints, and returns their addresses.
func (l *Links) Open(args OpenArgs, addrs *[]string) error {
	for range args.N {
		e, err := open(args.Kind, false)
		if err != nil {
			return err
		}
		l.ends = append(l.ends, e)
		*addrs = append(*addrs, e.addr())
	}
	return nil
}

// Dial links the first endpoint with others.
func (l *Links) Dial(addrs []string, _ *nothing) error {
	return l.dial(len(addrs), func(ctx context.Context, i int) error { return dialOn(ctx, l.ends[0], addrs[i]) })
}

// DialArgs says whom to link with: all endpoints from one on with an address.
type DialArgs struct {
	From int
	To   string
}

// DialFrom links some endpoints with one.
func (l *Links) DialFrom(args DialArgs, _ *nothing) error {
	from := l.ends[args.From:]
	return l.dial(len(from), func(ctx context.Context, i int) error { return dialOn(ctx, from[i], args.To) })
}

func (l *Links) dial(n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(ctx, i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// Memory waits until the first endpoint has so many links, and returns what this
// process holds.
func (l *Links) Memory(links int, f *Footprint) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	err := until(ctx, "all are linked", func() bool { return l.ends[0].links() == links })
	*f = footprint()
	return err
}

// Exchange sends so many bytes on every link, and waits until as many have come.
func (l *Links) Exchange(size int, _ *nothing) error {
	ctx, cancel := context.WithTimeout(context.Background(), formWithin)
	defer cancel()
	errs := make(chan error, len(l.ends))
	for _, e := range l.ends {
		go func() { errs <- sendAll(ctx, e, size) }()
	}
	for range l.ends {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}
