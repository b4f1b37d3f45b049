package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// Environment variables that make the test's program a process of its own.
const (
	envChild = "CLUSTER_LOCAL_TEST_DIR"  // the registry's Dir
	envSelf  = "CLUSTER_LOCAL_TEST_SELF" // its node
	envLimit = "CLUSTER_LOCAL_TEST_FULL" // it can't write to files until its standard input ends
)

// child runs the strategy until it is killed, and prints what that tells.
func child(dir string) {
	self := cluster.Node(os.Getenv(envSelf))
	lift := func() {}
	if os.Getenv(envLimit) != "" {
		lift = forbidWrites()
		attempts(dir, self)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		lift()
	}()
	r := cluster.NewRoster(self, nil, func(c cluster.Change) {
		fmt.Println(c.Kind, c.Nodes, c.Err)
	})
	if err := (Strategy{Dir: dir}).Run(context.Background(), r); err != nil {
		fmt.Println(err)
	}
}

// attempts prints how two looks at the registry fail, and what is there then.
func attempts(dir string, self cluster.Node) {
	path, _ := Strategy{Dir: dir}.folder()
	g := &registry{path: path, self: self}
	for range 2 {
		_, err := g.look()
		fmt.Println(err)
	}
	g.close()
	left, err := os.ReadDir(path)
	fmt.Println(len(left), err)
}

// spawn starts one.
func spawn(t *testing.T, dir string, self cluster.Node, env ...string) (cmd *exec.Cmd, input io.WriteCloser, output io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd = exec.Command(exe)
	cmd.Env = append(append(os.Environ(), envChild+"="+dir, envSelf+"="+string(self)), env...)
	input, err = cmd.StdinPipe()
	must(t, err)
	output, err = cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, input, output
}

// TestKilled has SIGKILL leave no entry, nor the node in an answer, a second
// later, again and again; and what has gone never be removed at once.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster-default")
	watcher := start(t, Strategy{Dir: dir}, "")
	watcher.answer()
	for range 5 {
		cmd, _, _ := spawn(t, dir, "a:1")
		if before := watcher.answer("a:1"); len(before) > 0 {
			t.Errorf("it tells %v before who has come", before)
		}
		must(t, cmd.Process.Kill())
		killed := time.Now()
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("it ended with %v", err)
		}
		before := watcher.answer()
		took := time.Since(killed)
		if len(before) > 0 {
			t.Errorf("it tells %v before nobody", before)
		}
		if left := entries(t, path); len(left) > 0 || took > time.Second {
			t.Errorf("after %s there are left %q, want nothing within a second", took, left)
		}
		t.Logf("gone after %s", took)
	}
}

// TestKilledUnseen has an entry whose process was killed while nobody was there
// never be told by the next one, which sweeps it.
func TestKilledUnseen(t *testing.T) {
	dir := t.TempDir()
	watcher := start(t, Strategy{Dir: dir}, "")
	cmd, _, _ := spawn(t, dir, "a:1")
	watcher.answer("a:1")
	watcher.stop()
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it says that it was killed
	path := filepath.Join(dir, "cluster-default")
	if left := entries(t, path); len(left) != 1 {
		t.Fatalf("a killed process leaves %q, want its entry", left)
	}
	if before := start(t, Strategy{Dir: dir}, "").answer(); len(before) > 0 {
		t.Errorf("the next one tells %v", before)
	}
	if left := entries(t, path); len(left) > 0 {
		t.Errorf("the next one leaves %q", left)
	}
}
