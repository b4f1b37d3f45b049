package logqueue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster/internal/logqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesComeInOrder(t *testing.T) {
	var out bytes.Buffer
	var wg sync.WaitGroup
	log := logqueue.New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime})), wg.Go)
	log.With("a", 1).Info("first")
	log.WithGroup("g").Warn("second", "b", 2)
	log.Debug("below the handler's level")
	wg.Wait()
	want := "level=INFO msg=first a=1\nlevel=WARN msg=second g.b=2\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func noTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// TestNeverWaitsForTheHandler: it may even need what the logging code holds.
func TestNeverWaitsForTheHandler(t *testing.T) {
	const lines = 3000
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	log := logqueue.New(slog.New(handlerFunc(func(r slog.Record) {
		mu.Lock()
		defer mu.Unlock()
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		got = append(got, text)
	})), wg.Go)
	mu.Lock()
	for i := range lines {
		log.Info("line", "number", i)
	}
	mu.Unlock()
	wg.Wait()
	written, left := 0, 0
	for _, text := range got {
		if n, ok := strings.CutPrefix(text, "log lines were left out: they came faster than they could be written lines="); ok {
			var more int
			if _, err := fmt.Sscan(n, &more); err != nil {
				t.Fatal(err)
			}
			left += more
		} else if want := fmt.Sprint("line number=", written+left); text != want {
			t.Fatalf("got %q, want %q", text, want)
		} else {
			written++
		}
	}
	if left == 0 || written+left != lines {
		t.Errorf("%d lines are written and %d left out, of %d", written, left, lines)
	}
}

// TestDebugLinesPushOutNoOther: they may be ones that the handler doesn't want.
func TestDebugLinesPushOutNoOther(t *testing.T) {
	var out bytes.Buffer
	var wait []func()
	to := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime}))
	log := logqueue.New(to, func(write func()) { wait = append(wait, write) })
	for range 3000 {
		log.Debug("tick")
	}
	log.Warn("important")
	for _, write := range wait {
		write()
	}
	if want := "level=WARN msg=important\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

type handlerFunc func(slog.Record)

func (handlerFunc) Enabled(context.Context, slog.Level) bool        { return true }
func (f handlerFunc) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f handlerFunc) WithGroup(string) slog.Handler                 { return f }
