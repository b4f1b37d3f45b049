package mesh

import "sync/atomic"

// Stats count what this node has done since it began. Config.Logger tells of the
// same where it matters, but not each time.
type Stats struct {
	// Handshakes are the links that it has dialled and that both sides proved.
	Handshakes int64
	// Dropped are messages of peers for which there was no room, in
	// Config.ReceiveQueue or Config.ReceiveLarge, or which came or waited too
	// long after their peer was down.
	Dropped int64
	// Unhandled are messages of peers to subjects that have no [Handler], or had
	// none any more when it was their turn.
	Unhandled int64
	// Overloaded are requests of peers that were refused with [ErrOverloaded].
	Overloaded int64
}

type counters struct{ handshakes, dropped, unhandled, overloaded atomic.Int64 }

// Stats returns the counts as they are now. It may be called after Close, too.
func (m *Mesh) Stats() Stats {
	c := &m.counts
	return Stats{
		Handshakes: c.handshakes.Load(), Dropped: c.dropped.Load(),
		Unhandled: c.unhandled.Load(), Overloaded: c.overloaded.Load(),
	}
}
