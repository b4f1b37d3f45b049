package mesh

import (
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	const beat, down = 5 * time.Second, 10 * time.Second
	tests := []struct {
		name   string
		silent time.Duration
		asked  bool
		want   verdict
	}{
		{"heard just now", 0, false, verdictFine},
		{"silent for a heartbeat", beat, false, verdictPing},
		{"asked already", beat, true, verdictFine},
		{"no answer", down, true, verdictDown},
		{"silent, but never asked", down, false, verdictPing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(tt.silent, tt.asked, beat, down); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestStalledNodeBlamesNobody: after a sleep of its own, every link has a fresh
// window.
func TestStalledNodeBlamesNobody(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	connect(t, a, b)
	later := a.elapsed() + time.Minute
	a.checkLinks(later, true)
	a.checkLinks(later+9*time.Second, false) // asks
	if peerCount(a) != 1 {
		t.Fatal("a link was given up for this node's own sleep")
	}
	a.mu.Lock()
	for _, p := range a.peers {
		p.active.heard.Store(int64(later))
		p.active.asked.Store(int64(later + 9*time.Second))
	}
	a.mu.Unlock()
	a.checkLinks(later+10*time.Second, false)
	if peerCount(a) != 0 {
		t.Error("a link that stays silent after that is kept")
	}
}
