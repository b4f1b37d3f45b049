package mesh

import (
	"slices"
	"time"
)

const (
	tombstoneTime = time.Hour
	maxTombstones = 1024
)

// tombstones are the instances that this node has disconnected on purpose. Their
// dials are refused until a caller of Connect wants the node again, another
// instance has the address, or an hour has passed. It is pure data.
type tombstones map[instanceID]tombstone

type tombstone struct {
	addrs []string
	until time.Time
}

// add remembers an instance, and forgets the oldest if there are too many.
func (t tombstones) add(id instanceID, addrs []string, now time.Time) {
	t[id] = tombstone{addrs, now.Add(tombstoneTime)}
	if len(t) <= maxTombstones {
		return
	}
	oldest := id
	for other, o := range t {
		if o.until.Before(t[oldest].until) {
			oldest = other
		}
	}
	delete(t, oldest)
}

func (t tombstones) has(id instanceID, now time.Time) bool {
	o, ok := t[id]
	if ok && !o.until.After(now) {
		delete(t, id)
		return false
	}
	return ok
}

func (t tombstones) drop(id instanceID) { delete(t, id) }

// dropAddr forgets who was at an address.
func (t tombstones) dropAddr(addr string) {
	for id, o := range t {
		if slices.Contains(o.addrs, addr) {
			delete(t, id)
		}
	}
}

// dropOthers forgets whoever else was at the addresses of an instance.
func (t tombstones) dropOthers(id instanceID, addrs []string) {
	for other, o := range t {
		if other != id && slices.ContainsFunc(o.addrs, func(a string) bool { return slices.Contains(addrs, a) }) {
			delete(t, other)
		}
	}
}
