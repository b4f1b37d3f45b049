package gossip

// A window remembers which packets of one sender were heard: the latest, and
// which of the 64 before it, so that they may come out of order but not twice.
// Its zero value has heard none.
type window struct {
	latest uint64
	heard  uint64 // bit i: latest-i was heard
}

// fresh reports whether the packet may still be heard.
func (w *window) fresh(counter uint64) bool {
	if counter > w.latest {
		return true
	}
	behind := w.latest - counter
	return behind < 64 && w.heard&(1<<behind) == 0
}

// note takes a packet that is fresh and authentic.
func (w *window) note(counter uint64) {
	if counter > w.latest {
		w.heard = w.heard<<(counter-w.latest) | 1 // a shift by 64 or more leaves nothing
		w.latest = counter
		return
	}
	w.heard |= 1 << (w.latest - counter)
}
