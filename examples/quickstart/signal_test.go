//go:build unix

package main

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestInterrupt(t *testing.T) {
	tests := []struct {
		name, args, upTo, last string
		signal                 os.Signal
		code                   int
	}{
		{"in the middle", "-nodes 20", "starting 20 nodes", "quickstart: interrupted", os.Interrupt, 130},
		{"while it stays", "-nodes 3 -stay", "running until Ctrl-C", "time to heal", os.Interrupt, 0},
		{"a hangup in the middle", "-nodes 20", "starting 20 nodes", "quickstart: interrupted", syscall.SIGHUP, 130},
		{"a hangup while it stays", "-nodes 3 -stay", "running until Ctrl-C", "time to heal", syscall.SIGHUP, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.signal == syscall.SIGHUP && signal.Ignored(syscall.SIGHUP) {
				t.Skip("this runs by nohup, and so would the program")
			}
			r := startProgram(t, tt.args)
			r.await(t, tt.upTo)
			if err := r.cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			r.await(t, tt.last)
			if code := r.end(t); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			isEmpty(t, r.temp)
		})
	}
}

// TestNobodyReads is `quickstart | head` when head has seen enough.
func TestNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	cmd, temp := program(t, "-nodes 3")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	_ = cmd.Run() // the exit code says it
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "broken pipe") {
		t.Errorf("exit code %d, stderr %q; want 1, with a broken pipe", code, &errs)
	}
	isEmpty(t, temp)
}

// TestWhereNothingIsSeen: a closed standard output is a mistake, and the null device
// what somebody wants.
func TestWhereNothingIsSeen(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	tests := []struct {
		name string
		out  *os.File // nil: closed
		code int
		errs string
	}{
		{"closed", nil, 1, "quickstart: standard output is closed"},
		{"the null device", null, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
			if err != nil {
				t.Fatal(err)
			}
			defer errs.Close()
			cmd, temp := program(t, "-nodes 2")
			p, err := os.StartProcess(cmd.Path, cmd.Args, &os.ProcAttr{Env: cmd.Env, Files: []*os.File{null, tt.out, errs}})
			if err != nil {
				t.Fatal(err)
			}
			ended, err := p.Wait()
			if err != nil {
				t.Fatal(err)
			}
			said, err := os.ReadFile(errs.Name())
			if err != nil {
				t.Fatal(err)
			}
			if code := ended.ExitCode(); code != tt.code || !strings.HasPrefix(string(said), tt.errs) || tt.errs == "" && len(said) > 0 {
				t.Errorf("exit code %d, stderr %q; want %d, %q", code, said, tt.code, tt.errs)
			}
			isEmpty(t, temp)
		})
	}
}

func TestWhatIsKilledWhileItStaysIsStartedAgain(t *testing.T) {
	tests := []struct {
		name    string
		victims []string
	}{
		{"one", []string{"node-1"}},
		{"two at once", []string{"node-1", "node-2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := startProgram(t, "-nodes 3 -stay")
			var pids []int
			r.await(t, "the mesh is whole again") // of the show
			for _, victim := range tt.victims {
				pid, err := strconv.Atoi(r.await(t, victim+` .* pid (\d+)`)[1])
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			r.await(t, "running until Ctrl-C")
			for _, pid := range pids {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			for range pids { // which of them is seen first, nobody knows
				victim := r.await(t, `(node-\d) .* has ended: signal: killed`)[1]
				r.await(t, "starting "+victim+" again")
			}
			r.await(t, "the mesh is whole again")
			if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if last := r.await(t, "the mesh is whole again|all have left")[0]; last != "all have left" {
				t.Errorf("%s is told twice", last)
			}
			if code := r.end(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
