package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also a chat of the demo, which starts its own program again.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-name") {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestTheWholeShow(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each process
	var out bytes.Buffer
	if code := run([]string{"-demo"}, &out); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out.String())
	}
	rest := out.String()
	for _, want := range []string{
		`ann joins go`, `bob joins go and rust`, `all see who else is in their rooms`,
		`140 lines were said: each was heard by every other member`, `bob has left go: 40 more lines`,
		`kill -9 dan`, `see that dan is gone`, `all have left, and nobody has heard anything`,
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
	want := "this step failed: all find who else is in their rooms: context deadline exceeded: ann of [go] sees"
	if err == nil || !strings.Contains(err.Error(), want) {
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
		{"an unknown flag", []string{"-rooms", "go"}, 2},
		{"an argument", []string{"ann"}, 2},
		{"no room", []string{"-room", "", "-dir", t.TempDir()}, 2},
		{"a bad room", []string{"-room", "go,a b", "-dir", t.TempDir()}, 2},
		{"a bad name", []string{"-name", "a b", "-dir", t.TempDir()}, 2},
		{"a name of two", []string{"-name", "x@y", "-dir", t.TempDir()}, 2},
		{"no name", []string{"-name", "", "-dir", t.TempDir()}, 2},
		{"a name for the demo", []string{"-demo", "-name", "ann"}, 2},
		{"a room for the demo", []string{"-demo", "-room", "go"}, 2},
		{"a folder for the demo", []string{"-demo", "-dir", t.TempDir()}, 2},
		{"a time for a chat", []string{"-timeout", "3s", "-dir", t.TempDir()}, 2},
		{"a time of nothing", []string{"-demo", "-timeout", "0"}, 2},
		{"a time before now", []string{"-demo", "-timeout", "-3s"}, 2},
		{"no folder can be there", []string{"-dir", filepath.Join(os.Args[0], "chats")}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code := run(tt.args, new(bytes.Buffer)); code != tt.code {
				t.Errorf("exit code %d; want %d", code, tt.code)
			}
		})
	}
}

// What the demo finds, if it is there.
func TestHeard(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		heard bool
	}{
		{"all, in order", []string{"[go] ann: 1", "[go] ann: 2"}, true},
		{"and what isn't said", []string{"you are in go", "[go] ann: 1", "[go] * cid is here", "[go] ann: 2"}, true},
		{"one is missing", []string{"[go] ann: 1"}, false},
		{"twice", []string{"[go] ann: 1", "[go] ann: 2", "[go] ann: 2"}, false},
		{"out of order", []string{"[go] ann: 2", "[go] ann: 1"}, false},
		{"of another room", []string{"[go] ann: 1", "[go] ann: 2", "[zig] eve: 3"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &person{present: map[string]bool{}, heard: map[string][]string{}}
			for _, l := range tt.lines {
				if err := p.take(shown{by: p, line: l}); err != nil {
					t.Fatal(err)
				}
			}
			d := &demo{people: []*person{p}, due: map[*person]map[string][]string{p: {in("go", "ann"): {"1", "2"}}}}
			if got := d.heard(); got != tt.heard {
				t.Errorf("heard is %t with %q", got, p.heard)
			}
		})
	}
}
