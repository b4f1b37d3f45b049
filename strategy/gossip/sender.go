package gossip

import (
	"container/list"
	"crypto/cipher"
	"time"

	"github.com/libcluster-go/cluster"
)

// A sender is an instance of which an authentic packet was heard.
type sender struct {
	id     instance
	key    cipher.AEAD // nil if packets are in the clear
	window window
	heard  time.Time // the last time
	period uint32    // of its own, the latest that was heard

	// proven: it has mentioned us and our period, so that it was alive in that,
	// and what was heard is no recording.
	proven bool
	left   bool

	nodes [2]cluster.Node // by which it is known, by the family it was heard by
}

// A table holds senders in the order in which they were last heard, and of
// those no more than limit.
type table struct {
	limit   int
	entries map[instance]*list.Element
	order   *list.List // of *sender, the latest in front
}

func newTable(limit int) *table {
	return &table{limit: limit, entries: map[instance]*list.Element{}, order: list.New()}
}

func (t *table) len() int { return len(t.entries) }

func (t *table) get(id instance) *sender {
	if e := t.entries[id]; e != nil {
		return e.Value.(*sender) //nolint:forcetypeassert // the list holds nothing else
	}
	return nil
}

// put adds a sender, or moves it to the front, and returns the one that had to
// go for it; nil if none.
func (t *table) put(p *sender) (evicted *sender) {
	if e := t.entries[p.id]; e != nil {
		t.order.MoveToFront(e)
		return nil
	}
	if t.len() >= t.limit {
		evicted = t.oldest()
		t.remove(evicted.id)
	}
	t.entries[p.id] = t.order.PushFront(p)
	return evicted
}

func (t *table) remove(id instance) {
	if e := t.entries[id]; e != nil {
		t.order.Remove(e)
		delete(t.entries, id)
	}
}

// oldest is the one that has been silent for longest; nil if there is none.
func (t *table) oldest() *sender {
	if e := t.order.Back(); e != nil {
		return e.Value.(*sender) //nolint:forcetypeassert // the list holds nothing else
	}
	return nil
}
