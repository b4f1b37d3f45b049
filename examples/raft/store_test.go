package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func testStore() *store {
	return &store{values: map[string]string{}, changed: func(Entry) {}, members: func([]string) {}}
}

func TestTheLogMakesTheStore(t *testing.T) {
	s := testStore()
	for i, data := range []string{`{"Key":"a","Value":"1"}`, `{"Key":"b","Value":"2"}`, `{"Key":"a","Value":"3"}`} {
		if got := s.Apply(&raft.Log{Index: uint64(i), Data: []byte(data)}); got != nil {
			t.Errorf("applying %s: %v", data, got)
		}
	}
	if want := map[string]string{"a": "3", "b": "2"}; !maps.Equal(s.values, want) {
		t.Errorf("it has %v; want %v", s.values, want)
	}
	got, _ := s.Apply(&raft.Log{Index: 7, Data: []byte("nonsense")}).(error)
	if got == nil || !strings.Contains(got.Error(), "entry 7 of the log") {
		t.Errorf("applying nonsense: %v", got)
	}
}

// A sink is a snapshot on its way to disk.
type sink struct {
	bytes.Buffer

	full             bool
	closed, canceled bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.full {
		return 0, io.ErrShortWrite
	}
	return s.Buffer.Write(p)
}

func (*sink) ID() string { return "1" }

func (s *sink) Close() error {
	s.closed = true
	return nil
}

func (s *sink) Cancel() error {
	s.canceled = true
	return nil
}

func TestASnapshotIsTheStore(t *testing.T) {
	s := testStore()
	s.values["a"] = "1"
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.values["a"] = "2" // after it
	var disk sink
	if err := snap.Persist(&disk); err != nil || !disk.closed {
		t.Fatalf("persisting: %v, closed %t", err, disk.closed)
	}
	other := testStore()
	other.values["old"] = "1"
	if err := other.Restore(io.NopCloser(&disk)); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"a": "1"}; !maps.Equal(other.values, want) {
		t.Errorf("it has %v; want %v", other.values, want)
	}
}

func TestABadSnapshotChangesNothing(t *testing.T) {
	s := testStore()
	s.values["a"] = "1"
	full := sink{full: true}
	if err := snapshot(s.values).Persist(&full); !errors.Is(err, io.ErrShortWrite) || !full.canceled || full.closed {
		t.Errorf("%v, cancelled %t, closed %t", err, full.canceled, full.closed)
	}
	if err := s.Restore(io.NopCloser(strings.NewReader("nonsense"))); err == nil || s.values["a"] != "1" {
		t.Errorf("%v, and it has %v", err, s.values)
	}
}
