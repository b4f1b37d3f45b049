package mesh

import (
	"slices"
	"time"
)

// checksPerHeartbeat is how often the links are looked at in a heartbeat, and
// so how exactly Heartbeat and DownAfter are kept.
const checksPerHeartbeat = 10

// checkAtLeast is the longest between two looks, however long a heartbeat is: a
// proof that is due has its own time.
const checkAtLeast = 500 * time.Millisecond

// stallSlack is how late a check may run, beyond one interval, before the node
// takes itself for stalled.
const stallSlack = 500 * time.Millisecond

// watchLinks pings links that are silent and gives up those that stay so: one
// timer for all.
func (m *Mesh) watchLinks() {
	interval := min(max(m.cfg.Heartbeat/checksPerHeartbeat, time.Millisecond), checkAtLeast)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := m.elapsed()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-ticker.C:
		}
		now := m.elapsed()
		m.checkLinks(now, now-last > 2*interval+stallSlack)
		last = now
	}
}

// checkLinks looks at every link once. A node that was stalled itself has heard
// nobody, which is nobody's fault: every link gets a fresh window, in which the
// readers take in what has come meanwhile.
func (m *Mesh) checkLinks(now time.Duration, stalled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookAround(now)
	m.lookAfterStreams()
	for _, p := range m.peers {
		// A proof may have come while this node was stalled, and wait to be read.
		if !stalled && slices.ContainsFunc(p.links, func(l *link) bool { return m.unproven(l) }) {
			m.drop(p, ReasonSecret, CodeSecret, "the secret that you have proved is not valid any more")
			continue
		}
		for _, l := range slices.Clone(p.links) { // end takes them out
			if stalled || l.follows != nil { // a reader that waits for another hears nothing
				l.heard.Store(int64(now))
				l.asked.Store(0)
			}
			l.lookAfter()
			heard := time.Duration(l.heard.Load())
			switch judge(now-heard, time.Duration(l.asked.Load()) > heard, m.cfg.Heartbeat, m.cfg.DownAfter) {
			case verdictPing:
				l.asked.Store(int64(now))
				l.out.urge(framePing, m.now())
			case verdictDown:
				if l == p.active {
					m.drop(p, ReasonSilent, CodeSilent, "nothing was heard from you")
				} else {
					m.end(l)
				}
			case verdictFine:
			}
		}
	}
}

type verdict int

const (
	verdictFine verdict = iota
	verdictPing
	verdictDown
)

// judge decides about a link that has been silent for so long, and was asked
// since or wasn't.
func judge(silent time.Duration, asked bool, heartbeat, downAfter time.Duration) verdict {
	switch {
	case silent >= downAfter && asked:
		return verdictDown
	case silent >= heartbeat && !asked:
		return verdictPing
	default:
		return verdictFine
	}
}
