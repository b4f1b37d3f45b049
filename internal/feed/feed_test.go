package feed_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/libcluster-go/cluster/internal/feed"
)

// newHub returns a hub of strings whose snapshot is the number of updates.
func newHub(size int) (hub *feed.Hub[string], publish func()) {
	n := 0
	hub = feed.New(size,
		func() string { return fmt.Sprint("at ", n) },
		func(dropped int) string { return fmt.Sprint("dropped ", dropped) })
	return hub, func() { hub.Publish(func() { n++ }, fmt.Sprint("event ", n+1)) }
}

func TestSnapshotThenEvents(t *testing.T) {
	hub, publish := newHub(8)
	publish()
	events := hub.Subscribe(t.Context())
	publish()
	publish()
	hub.Close()
	hub.Close()
	publish()
	if got, want := slices.Collect(all(events)), []string{"at 1", "event 2", "event 3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := slices.Collect(all(hub.Subscribe(t.Context()))), []string{"at 4"}; !slices.Equal(got, want) {
		t.Errorf("after Close: got %q, want %q", got, want)
	}
}

func TestSlowSubscriberLags(t *testing.T) {
	hub, publish := newHub(2)
	slow, fast := hub.Subscribe(t.Context()), hub.Subscribe(t.Context())
	seen := []string{<-fast}
	for range 6 {
		publish()
		seen = append(seen, <-fast)
	}
	hub.Close()
	if want := []string{"at 0", "event 1", "event 2", "event 3", "event 4", "event 5", "event 6"}; !slices.Equal(seen, want) {
		t.Errorf("fast: got %q, want %q", seen, want)
	}
	if got, want := slices.Collect(all(slow)), []string{"dropped 4", "at 4", "event 5", "event 6"}; !slices.Equal(got, want) {
		t.Errorf("slow: got %q, want %q", got, want)
	}
}

// TestDroppedCountsEachEventOnce: it counts events and nothing else, up to the
// last count that was read.
func TestDroppedCountsEachEventOnce(t *testing.T) {
	tests := []struct {
		name  string
		read  int // after the first overflow
		then  int // events
		first string
	}{
		{"the count is unread", 0, 1, "dropped 4"},
		{"and overflows again", 0, 5, "dropped 10"},
		{"and again and again", 0, 100, "dropped 103"},
		{"the count is read", 1, 4, "dropped 4"},
		{"the snapshot, too", 2, 5, "dropped 5"},
		{"and an event", 3, 5, "dropped 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, publish := newHub(2)
			events := hub.Subscribe(t.Context())
			for range 5 { // of which the first four are dropped
				publish()
			}
			for range tt.read {
				<-events
			}
			for range tt.then {
				publish()
			}
			hub.Close()
			if got := <-events; got != tt.first {
				t.Errorf("got %q, want %q", got, tt.first)
			}
		})
	}
}

func TestDoneContextUnsubscribes(t *testing.T) {
	hub, publish := newHub(1)
	ctx, cancel := context.WithCancel(t.Context())
	events := hub.Subscribe(ctx)
	cancel()
	for range events { // ends, or the test does
	}
	publish()
	hub.Close()
}

func all(ch <-chan string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for e := range ch {
			if !yield(e) {
				return
			}
		}
	}
}
