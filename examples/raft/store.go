package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// An Entry is what the log holds: that a key has a value.
type Entry struct{ Key, Value string }

// A store is what the log comes to, the same on every node. Raft calls its
// methods from one goroutine, but for Persist.
type store struct {
	changed func(Entry)           // after each entry of the log
	members func(voters []string) // after each change of the voters

	mu     sync.Mutex
	values map[string]string
}

var (
	_ raft.FSM                = (*store)(nil)
	_ raft.ConfigurationStore = (*store)(nil)
)

// Apply takes an entry of the log, which a majority has.
func (s *store) Apply(l *raft.Log) any {
	var e Entry
	if err := json.Unmarshal(l.Data, &e); err != nil {
		return fmt.Errorf("entry %d of the log: %w", l.Index, err)
	}
	s.mu.Lock()
	s.values[e.Key] = e.Value
	s.mu.Unlock()
	s.changed(e)
	return nil
}

// StoreConfiguration is told the servers, whenever they change.
func (s *store) StoreConfiguration(_ uint64, c raft.Configuration) { s.members(names(c)) }

// get returns what this node knows: another may know more.
func (s *store) get(key string) (value string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok = s.values[key]
	return value, ok
}

// Snapshot returns a copy, for Raft to keep in the place of a long log.
func (s *store) Snapshot() (raft.FSMSnapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshot(maps.Clone(s.values)), nil
}

// Restore puts a snapshot in the place of what is there.
func (s *store) Restore(from io.ReadCloser) error {
	defer func() { _ = from.Close() }()
	values := map[string]string{}
	if err := json.NewDecoder(from).Decode(&values); err != nil {
		return fmt.Errorf("reading a snapshot: %w", err)
	}
	s.mu.Lock()
	s.values = values
	s.mu.Unlock()
	for k, v := range values {
		s.changed(Entry{k, v})
	}
	return nil
}

type snapshot map[string]string

// Persist writes the snapshot, while the store goes on.
func (s snapshot) Persist(to raft.SnapshotSink) error {
	if err := json.NewEncoder(to).Encode(s); err != nil {
		_ = to.Cancel() // the first error counts
		return err
	}
	return to.Close()
}

// Release has nothing to give back.
func (snapshot) Release() {}
