package node

import (
	"bytes"
	"slices"
	"sync"
)

// Warnings are the lines of a log that are some.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

// Write takes one line, as slog's handlers write them.
func (w *warnings) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("level=WARN")) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lines = append(w.lines, string(line))
	}
	return len(line), nil
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}
