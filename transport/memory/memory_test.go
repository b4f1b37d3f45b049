package memory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/memory"
)

func join(t *testing.T, w *memory.Network, n transport.Node) *memory.Transport {
	t.Helper()
	tr, err := w.Join(n)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func wantLinks(t *testing.T, tr *memory.Transport, want ...transport.Node) {
	t.Helper()
	got, err := tr.ListNodes(t.Context())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s is linked with %v, %v; want %v", tr.Self(), got, err, want)
	}
}

func TestLinks(t *testing.T) {
	w := memory.New()
	a, b := join(t, w, "a:1"), join(t, w, "bob@b:1")
	notified := b.Notify(t.Context())
	if err := a.Connect(t.Context(), "b:1"); err != nil {
		t.Fatal(err)
	}
	<-notified
	wantLinks(t, a, "bob@b:1")
	wantLinks(t, b, "a:1")
	if got := a.Canonical("b:1"); !slices.Equal(got, []transport.Node{"bob@b:1"}) {
		t.Errorf("Canonical = %v", got)
	}
	if err := a.Disconnect(t.Context(), "b:1"); err != nil {
		t.Fatal(err)
	}
	wantLinks(t, a)
	wantLinks(t, b)
	if !b.Departed("a:1") {
		t.Error("b takes a disconnect for a loss")
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name     string
		fault    func(w *memory.Network, b *memory.Transport)
		err      error
		departed bool
	}{
		{"cut", func(w *memory.Network, _ *memory.Transport) { w.Cut("a:1", "b:1") }, memory.ErrUnreachable, false},
		{"isolated", func(w *memory.Network, _ *memory.Transport) { w.Isolate("b:1") }, memory.ErrUnreachable, false},
		{"split", func(w *memory.Network, _ *memory.Transport) {
			w.Split([]transport.Node{"a:1"}, []transport.Node{"b:1"})
		}, memory.ErrUnreachable, false},
		{"broken", func(w *memory.Network, _ *memory.Transport) { w.Break("a:1", "b:1") }, nil, false},
		{"crashed", func(_ *memory.Network, b *memory.Transport) { b.Crash() }, memory.ErrRefused, false},
		{"closed", func(_ *memory.Network, b *memory.Transport) { _ = b.Close() }, memory.ErrRefused, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := memory.New()
			a, b := join(t, w, "a:1"), join(t, w, "b:1")
			if err := a.Connect(t.Context(), "b:1"); err != nil {
				t.Fatal(err)
			}
			tt.fault(w, b)
			wantLinks(t, a)
			if got := a.Departed("b:1"); got != tt.departed {
				t.Errorf("Departed = %v, want %v", got, tt.departed)
			}
			if err := a.Connect(t.Context(), "b:1"); !errors.Is(err, tt.err) {
				t.Errorf("Connect: %v, want %v", err, tt.err)
			}
		})
	}
}

func TestBlackHoleWaitsForHealOrContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memory.New()
		a := join(t, w, "a:1")
		join(t, w, "b:1")
		w.Hang("b:1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Connect(ctx, "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Connect: %v", err)
		}
		time.AfterFunc(time.Second, w.Heal)
		if err := a.Connect(t.Context(), "b:1"); err != nil {
			t.Errorf("after healing: %v", err)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := memory.New()
		a := join(t, w, "a:1")
		join(t, w, "b:1")
		w.SetDelay(time.Second)
		began := time.Now()
		if err := a.Connect(t.Context(), "b:1"); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestNames(t *testing.T) {
	w := memory.New()
	a := join(t, w, "a:1")
	join(t, w, "b:1")
	w.Name("web:1", "a:1", "b:1", "c:1")
	if err := a.Connect(t.Context(), "web:1"); !errors.Is(err, transport.ErrPartial) || !errors.Is(err, memory.ErrRefused) {
		t.Errorf("two of three: %v", err)
	}
	join(t, w, "c:1")
	if err := a.Connect(t.Context(), "web:1"); err != nil {
		t.Error(err)
	}
	if got := a.Canonical("web:1"); len(got) != 2 {
		t.Errorf("Canonical = %v", got)
	}
	w.Name("me:1", "a:1")
	if err := a.Connect(t.Context(), "me:1"); !errors.Is(err, transport.ErrSelf) {
		t.Errorf("itself: %v", err)
	}
}

func TestAddressIsFreeAgainAfterClose(t *testing.T) {
	w := memory.New()
	a := join(t, w, "a:1")
	if _, err := w.Join("other@a:1"); !errors.Is(err, memory.ErrTaken) {
		t.Errorf("a second: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	join(t, w, "a:1")
	if err := a.Connect(t.Context(), "b:1"); !errors.Is(err, memory.ErrClosed) {
		t.Errorf("a closed one connects: %v", err)
	}
}
