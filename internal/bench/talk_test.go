package main

import (
	"context"
	"testing"
	"time"
)

// TestCarriers has both sides in this process: all that is sent comes, and what
// is asked is answered.
func TestCarriers(t *testing.T) {
	for _, kind := range []string{kindMesh, kindFloor, kindGRPC, kindNATS, kindYamux} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var from, to Talk
			at := TalkArgs{Kind: kind}
			if kind == kindNATS {
				must(t, new(Talk).Serve(false, &at.Addr))
			}
			must(t, to.Listen(at, &at.Addr))
			must(t, from.Dial(at, nil))

			var sent Sent
			var arrived time.Duration
			must(t, from.Flood(FloodArgs{Size: 64, Senders: 3, For: 20 * time.Millisecond}, &sent))
			must(t, to.Arrived(sent.Total, &arrived))
			if arrived <= sent.Began || sent.Total < 3 {
				t.Errorf("%d messages, which began at %s, have come at %s", sent.Total, sent.Began, arrived)
			}
			var took []time.Duration
			must(t, from.Trips(TripArgs{For: 5 * time.Millisecond}, &took))
			if len(took) == 0 || quantile(took, 0) <= 0 {
				t.Errorf("%d trips took %s at least", len(took), quantile(took, 0))
			}
			if kind == kindMesh {
				must(t, from.Trips(TripArgs{Request: true, For: 5 * time.Millisecond}, &took))
			}
			var before, after Usage
			must(t, to.Usage(false, &before))
			must(t, from.Flood(FloodArgs{Size: 64, Senders: 1}, &sent))
			must(t, to.Arrived(sent.Total, &arrived))
			must(t, to.Usage(false, &after))
			if after.Mallocs <= before.Mallocs || after.At <= before.At {
				t.Errorf("a message costs nothing: %+v, then %+v", before, after)
			}
		})
	}
}

// TestMissedHeartbeats: of two that are silent, each is pinged, and that counts.
func TestMissedHeartbeats(t *testing.T) {
	var from, to Talk
	at := TalkArgs{Kind: kindMesh}
	must(t, to.Listen(at, &at.Addr))
	must(t, from.Dial(at, nil))
	before, after := make([]Usage, 2), make([]Usage, 2)
	usage := func(u []Usage) {
		must(t, from.Usage(false, &u[0]))
		must(t, to.Usage(false, &u[1]))
	}
	usage(before)
	missed := func() float64 { n, _ := silences(before, after); return n }
	late := time.After(talkWithin)
	for usage(after); after[0].Pings == 0 || after[1].Pings == 0; usage(after) {
		select {
		case <-time.After(talkHeartbeat / looks):
		case <-late:
			t.Fatalf("both are silent, and %g heartbeats are missed", missed())
		}
	}
	pinged := missed()
	after[1].Downs++ // a link that is given up was silent as well
	if all, downs := silences(before, after); all != pinged+1 || pinged < 2 || downs != 1 {
		t.Errorf("%g heartbeats are missed, then %g, and %g links given up: %+v", pinged, all, downs, after)
	}
}

// TestRequestsBesideLargeMessages has two processes talk for a moment, in which no
// large message has to be complete.
func TestRequestsBesideLargeMessages(t *testing.T) {
	m, err := measureMixed(t.Context(), kindMesh, 100*time.Millisecond)
	must(t, err)
	if m.p50 <= 0 || m.p99 < m.p50 || m.missed < m.downs {
		t.Errorf("%+v", m)
	}
}

// TestStreams has all bytes come that are written.
func TestStreams(t *testing.T) {
	for _, kind := range []string{kindMesh, kindBare, kindYamux} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var from, to Talk
			at := TalkArgs{Kind: kind}
			must(t, to.Accept(kind, &at.Addr))
			must(t, from.Open(at, nil))
			var sent Sent
			var arrived time.Duration
			must(t, from.Write(5*time.Millisecond, &sent))
			must(t, to.Arrived(sent.Total, &arrived))
			if got := to.came.n.Load(); got != sent.Total || got < writeSize {
				t.Errorf("%d bytes have come of %d", got, sent.Total)
			}
		})
	}
}

func TestUnknownKinds(t *testing.T) {
	var talk Talk
	tests := map[string]func() error{
		"listen":         func() error { return talk.Listen(TalkArgs{Kind: "x"}, new(string)) },
		"dial":           func() error { return talk.Dial(TalkArgs{Kind: "x"}, nil) },
		"accept streams": func() error { return talk.Accept("x", new(string)) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			if f() == nil {
				t.Error("no error")
			}
		})
	}
}

func TestTally(t *testing.T) {
	tests := []struct {
		name  string
		first int64 // before anybody waits
	}{
		{"all has come before", 10},
		{"the rest comes later", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sum tally
			sum.add(tt.first)
			go sum.add(10 - tt.first)
			if at, err := sum.wait(t.Context(), 10); err != nil || at <= 0 {
				t.Errorf("at %s, %v", at, err)
			}
		})
	}
	t.Run("never", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := new(tally).wait(ctx, 1); err == nil {
			t.Error("what hasn't come is no error")
		}
	})
}

func TestQuantile(t *testing.T) {
	all := make([]time.Duration, 100)
	for i := range all {
		all[i] = time.Duration(100 - i)
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(all, share); got != want {
			t.Errorf("%g of all are within %d, want %d", share, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
