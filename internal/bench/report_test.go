package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   summary
	}{
		{"one", []float64{3}, summary{3, 3, 3}},
		{"odd", []float64{5, 1, 3}, summary{3, 1, 5}},
		{"even", []float64{4, 1, 2, 9}, summary{3, 1, 9}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := summarize(tt.values); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestGoals(t *testing.T) {
	tests := []struct {
		name         string
		metric       metric
		ours, theirs []float64
		want         string // what is said of the goal
	}{
		{"none", metric{peer: "x"}, []float64{9}, []float64{1}, "null"},
		{"ratio reached", metric{peer: "x", goal: atMost(1.1).ofPeer()}, []float64{11}, []float64{10}, "true"},
		{"ratio missed", metric{peer: "x", goal: atMost(1.1).ofPeer()}, []float64{12}, []float64{10}, "false"},
		{"value reached", metric{goal: atMost(5)}, []float64{4}, nil, "true"},
		{"value missed beside a worse peer", metric{peer: "x", goal: atMost(5)}, []float64{6}, []float64{9}, "false"},
		{"at least, reached", metric{peer: "x", goal: atLeast(8).ofPeer()}, []float64{80}, []float64{10}, "true"},
		{"at least, missed", metric{peer: "x", goal: atLeast(8).ofPeer()}, []float64{79}, []float64{10}, "false"},
		{"at most nothing", metric{goal: atMost(0)}, []float64{0}, nil, "true"},
		{"median of ratios by round", metric{peer: "x", goal: atMost(1).ofPeer()}, []float64{2, 30, 9}, []float64{1, 60, 18}, "true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := result{metric: tt.metric}
			for i := range tt.ours {
				x := reading{ours: tt.ours[i]}
				if tt.theirs != nil {
					x.theirs = tt.theirs[i]
				}
				r.add(x)
			}
			got, err := json.Marshal(r.row().Reached)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestMeasureInterleaves(t *testing.T) {
	var ran []string
	one := func(name string) benchCase {
		return benchCase{name: name, metrics: []metric{{name: "m", unit: unitSeconds}}, run: func(_ context.Context, round int) ([]reading, error) {
			ran = append(ran, name)
			return []reading{{ours: float64(round)}}, nil
		}}
	}
	var last *report
	rounds := 0
	keep := func(r *report, end bool) error {
		last = r
		if rounds++; end != (rounds == 2) {
			t.Errorf("after round %d the end is %t", rounds, end)
		}
		return nil
	}
	err := measure(t.Context(), []benchCase{one("a"), one("b")}, 2, func(string) {}, keep)
	if got := strings.Join(ran, ""); err != nil || got != "abab" || rounds != 2 {
		t.Errorf("ran %q, reported %d times, %v; want abab, 2 times", got, rounds, err)
	}
	var b bytes.Buffer
	if err := last.writeMarkdown(&b); err != nil || !strings.Contains(b.String(), "| a | m | 500.0 ms (0.00 µs to 1.00 s) |") {
		t.Errorf("%v; the table is\n%s", err, b.String())
	}
}

// TestWhatFailsIsLeftOut of its round, and of the report if it is of all.
func TestWhatFailsIsLeftOut(t *testing.T) {
	errBad := errors.New("can't be measured")
	failing := func(name string, bad func(round int) bool) benchCase {
		return benchCase{name: name, metrics: []metric{{name: "m", unit: unitSeconds}}, run: func(_ context.Context, round int) ([]reading, error) {
			if bad(round) {
				return nil, errBad
			}
			return []reading{{ours: float64(round)}}, nil
		}}
	}
	all := []benchCase{
		failing("never", func(int) bool { return true }),
		failing("once", func(round int) bool { return round == 0 }),
		failing("good", func(int) bool { return false }),
	}
	var got []string
	var said []string
	err := measure(t.Context(), all, 3, func(line string) { said = append(said, line) }, func(r *report, _ bool) error {
		line := ""
		for _, row := range r.Rows {
			line += fmt.Sprint(row.Workload, row.Ours, " ")
		}
		got = append(got, line)
		return r.writeSVG(io.Discard)
	})
	want := []string{"good[0] ", "once[1] good[0 1] ", "once[1 2] good[0 1 2] "}
	if !slices.Equal(got, want) {
		t.Errorf("reported %q; want %q", got, want)
	}
	if !errors.Is(err, errBad) || !slices.Contains(said, "round 1: once: "+errBad.Error()) {
		t.Errorf("it ends with %v and has said %q", err, said)
	}
}

// TestAnInterruptKeepsTheReadings of what was measured before.
func TestAnInterruptKeepsTheReadings(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	one := func(name string, then func()) benchCase {
		return benchCase{name: name, metrics: []metric{{name: "m"}}, run: func(context.Context, int) ([]reading, error) {
			then()
			return []reading{{ours: 1}}, nil
		}}
	}
	all := []benchCase{one("a", func() {}), one("b", interrupt), one("c", func() { t.Error("it goes on") })}
	reports := 0
	err := measure(ctx, all, 5, func(string) {}, func(r *report, end bool) error {
		if reports++; !end || len(r.Rows) != 2 {
			t.Errorf("reported %v; want a and b, at the end", r.Rows)
		}
		return nil
	})
	if reports != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("reported %d times, and it ends with %v", reports, err)
	}
}

// TestFilesAreWrittenAfterEachRound, and the standard output isn't.
func TestFilesAreWrittenAfterEachRound(t *testing.T) {
	dir := t.TempDir()
	o := options{markdown: filepath.Join(dir, "table.md"), json: filepath.Join(dir, "readings.json"), svg: "-"}
	r := newReport([]result{{workload: "w", metric: metric{name: "m"}, ours: []float64{1}}}, 1)
	if err := o.write(r, false); err != nil {
		t.Fatal(err)
	}
	if back, err := readReport(o.json); err != nil || len(back.Rows) != 1 {
		t.Errorf("-json: %v, %v", back, err)
	}
	if table, err := os.ReadFile(o.markdown); err != nil || !bytes.Contains(table, []byte("| w | m |")) {
		t.Errorf("-md: %s, %v", table, err)
	}
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name, args string
		want       string // in the error
	}{
		{"nothing", "", ""},
		{"all at once", "-rounds 2 -only forming -smoke -json x -svg y", ""},
		{"a report of a file", "-from x -md y", ""},
		{"an argument", "bogus", `"bogus" is given`},
		{"no rounds", "-rounds 0", "-rounds is 0"},
		{"a bad pattern", "-only (", "-only: "},
		{"a file, and what to measure", "-from x -only forming", "-only is given"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(strings.Fields(tt.args))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q in it", err, tt.want)
			}
		})
	}
}

func TestInTurn(t *testing.T) {
	for round, want := range []string{"ours theirs ", "theirs ours "} {
		got := ""
		say := func(what string) func() error { return func() error { got += what; return nil } }
		if err := inTurn(round, say("ours "), say("theirs ")); err != nil || got != want {
			t.Errorf("round %d: %q, %v; want %q", round, got, err, want)
		}
	}
}
