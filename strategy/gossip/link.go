package gossip

import "context"

// An ear hears one address family on some interfaces.
type ear interface {
	// receive waits for a packet, of which one that is longer fills buf. An error
	// that wraps net.ErrClosed is the end.
	receive(buf []byte) (n int, from origin, err error)
}

// A link is how one address family is sent and heard by. Its methods but receive
// are called from the loop's goroutine; close makes receive return.
type link interface {
	ear

	// send sends a packet to all that can be reached, on every interface. It has
	// failed if nobody can be, and else what couldn't be sent is told by refresh.
	send(packet []byte) error

	// refresh looks which interfaces there are.
	refresh(ctx context.Context) news

	close() error
}

// News are what a look at the interfaces has shown.
type news struct {
	came     bool      // one by which others may be reached that don't know us
	ears     []ear     // further ones, to be heard until the link is closed
	troubles []trouble // of interfaces that lead to others
}

// A trouble is why nothing can be sent or heard somewhere.
type trouble struct {
	where string // an interface and family
	err   error
}
