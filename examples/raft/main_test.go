package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also a node of the show, which starts its own program again.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-name") {
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
		`found each other, and node-\d is the leader`, `set at each of 3 nodes: every node has all 3`,
		`kill -9 node-\d, the leader`, `node-\d is the leader after \d+\.\d s; node-\d is still a voter`,
		`set at each of 2 nodes: every node has all 5`, `node-4, which nobody was told of`, `voter and has all 5 keys`,
		`starting node-\d again`, `caught up: all 5 keys`, `all have left`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%q is missing, or out of order:\n%s", want, out.String())
		}
		rest = rest[at[1]:]
	}
}

func TestAStepThatFailsIsNamed(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	err := show(t.Context(), new(bytes.Buffer), time.Nanosecond)
	want := `this step failed: three nodes found a cluster and elect a leader: context deadline exceeded: node-1 has leader`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q in it", err, want)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name, args string
		code       int
	}{
		{"help", "-help", 0},
		{"an unknown flag", "-expected 3", 2},
		{"an argument", "a", 2},
		{"no folder", "-name a", 2},
		{"less than nobody", "-name a -dir a -expect -1", 2},
		{"a node without a name", "-name= -dir a", 2},
		{"a number for the show", "-expect 3", 2},
		{"a folder for the show", "-dir a", 2},
		{"a registry for the show", "-registry a", 2},
		{"a time for a node", "-name a -dir a -timeout 1s", 2},
		{"a time of nothing", "-timeout 0", 2},
		{"a time before now", "-timeout -3s", 2},
		{"no secret", "-name a -dir " + t.TempDir(), 1},
		{"too little time", "-timeout 1ns", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CLUSTER_SECRET", "")
			if code := run(strings.Fields(tt.args), new(bytes.Buffer)); code != tt.code {
				t.Errorf("exit code %d; want %d", code, tt.code)
			}
		})
	}
}
