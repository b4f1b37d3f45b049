// Package process runs a test's own program once more, on other hosts, as something
// that says how it is. The program has to call Main first of all, with what such a
// process does:
//
//	func TestMain(m *testing.M) {
//		process.Main(run) // func run(ctx context.Context, cfg Config) error
//		os.Exit(m.Run())
//	}
//
// What it writes to its standard output is its reports, a line of JSON each. So
//
//	p := process.Start[Report](t, host, "web-0", Config{Bind: bind})
//	p.Await(deadline, "a link", func(r Report) bool { return len(r.Linked) > 0 })
//
// starts one, and waits for it.
//
// # Concurrency
//
// The methods of a Process are called from one goroutine at a time.
package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// variable of the environment is what the process is to do, in JSON.
const variable = "CLUSTER_E2E_PROCESS"

// Main calls run and ends the process with it, if Start has started that; else it
// does nothing. The context is done when the test says so, or dies. An error of run,
// or a configuration that isn't one, goes to standard error.
func Main[C any](run func(context.Context, C) error) {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	if err := runWith(text, run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runWith[C any](text string, run func(context.Context, C) error) error {
	var cfg C
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return fmt.Errorf("process: %s: %w", variable, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // until the standard input ends, or the process does
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return run(ctx, cfg)
}
