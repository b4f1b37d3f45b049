package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
	"go.uber.org/goleak"
)

// TestMain is also a node of the show, which starts its own program again.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-serve") {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestTheWholeShow(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each process
	var out bytes.Buffer
	if code := run(nil, &out); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out.String())
	}
	rest := out.String()
	for _, want := range []string{
		`linked with 3 nodes`, `300 calls were answered: node-1 \d+, node-2 \d+, node-3 \d+`,
		`kill -9 node-2 \(pid \d+\)`, `3000 calls were answered: .*; none failed`,
		`starting node-2 again`, `300 calls were answered: node-1 \d+, node-2 \d+, node-3 \d+`,
		`node-1 leaves`, `3000 calls were answered: .*; none failed`, `all have left`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%q is missing, or out of order:\n%s", want, out.String())
		}
		rest = rest[at[1]:]
	}
}

func TestAStepThatFailsIsNamed(t *testing.T) {
	err := show(t.Context(), new(bytes.Buffer), time.Nanosecond)
	if want := "this step failed: the client finds the nodes"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q in it", err, want)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
	}{
		{"help", []string{"-help"}, 0},
		{"an unknown flag", []string{"-servant", "ann"}, 2},
		{"an argument", []string{"ann"}, 2},
		{"a node without a name", []string{"-serve", ""}, 2},
		{"a folder for the show", []string{"-dir", "nodes"}, 2},
		{"a time for a node", []string{"-serve", "ann", "-timeout", "1s"}, 2},
		{"a time of nothing", []string{"-timeout", "0"}, 2},
		{"a time before now", []string{"-timeout", "-3s"}, 2},
		{"no secret", []string{"-serve", "ann"}, 1},
		{"too little time", []string{"-timeout", "1ns"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CLUSTER_SECRET", "")
			if code := run(tt.args, new(bytes.Buffer)); code != tt.code {
				t.Errorf("exit code %d; want %d", code, tt.code)
			}
		})
	}
}

func testNode(t *testing.T, name string, s settings) *node {
	t.Helper()
	n, err := startNode(name, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.close() })
	return n
}

func testSettings(t *testing.T) settings {
	t.Helper()
	return settings{secrets: []string{mesh.NewSecret()}, dir: t.TempDir()}
}

func TestServeSaysThatThereIsNoSecret(t *testing.T) {
	t.Setenv("CLUSTER_SECRET", "")
	if err := serve(t.Context(), "ann", t.TempDir()); err == nil || !strings.Contains(err.Error(), "CLUSTER_SECRET is not set") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}
