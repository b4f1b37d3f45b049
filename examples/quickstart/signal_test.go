//go:build unix

package main

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

func TestInterrupt(t *testing.T) {
	tests := []struct {
		name, args, upTo, last string
		code                   int
	}{
		{"in the middle", "-nodes 20", "starting 20 nodes", "quickstart: interrupted", 130},
		{"while it stays", "-nodes 3 -stay", "running until Ctrl-C", "time to heal", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := startProgram(t, tt.args)
			r.await(t, tt.upTo)
			if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			r.await(t, tt.last)
			if code := r.end(t); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
		})
	}
}

func TestWhatIsKilledWhileItStaysIsStartedAgain(t *testing.T) {
	r := startProgram(t, "-nodes 3 -stay")
	pid, err := strconv.Atoi(r.await(t, `node-1 .* pid (\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, "running until Ctrl-C")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await(t, `node-1 .* has ended: signal: killed`)
	r.await(t, "starting node-1 again")
	r.await(t, "the mesh is whole again")
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r.await(t, "all have left")
	if code := r.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
