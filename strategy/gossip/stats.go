package gossip

import (
	"errors"
	"sync/atomic"
)

// Stats counts packets, over all Runs of the strategies that share it. Make one
// with new(Stats) and put it into [Strategy.Stats]; it may be read at any time.
type Stats struct {
	// Sent counts the packets sent and SentBytes their payload: once for each
	// address family, not for each interface.
	Sent, SentBytes atomic.Int64

	// Heard counts the packets that were taken: authentic, fresh, and of this
	// cluster.
	Heard atomic.Int64

	// Malformed, Forged, Foreign and Repeated count those that were dropped:
	// not of this format; made without a secret that is ours, or changed; of
	// another cluster with the same secret; heard before. The last come by
	// several interfaces, or are replayed by somebody.
	Malformed, Forged, Foreign, Repeated atomic.Int64
}

// drop counts a packet by what is wrong with it.
func (s *Stats) drop(err error) {
	switch {
	case errors.Is(err, errForged):
		s.Forged.Add(1)
	case errors.Is(err, errForeign):
		s.Foreign.Add(1)
	case errors.Is(err, errRepeated):
		s.Repeated.Add(1)
	default:
		s.Malformed.Add(1)
	}
}
