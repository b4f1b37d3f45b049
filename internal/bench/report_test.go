package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
			if name == "bad" && round == 1 {
				return nil, errors.New("can't be measured")
			}
			return []reading{{ours: float64(round)}}, nil
		}}
	}
	results, err := measure(t.Context(), []benchCase{one("a"), one("b")}, 2, func(string) {})
	if got := strings.Join(ran, ""); err != nil || got != "abab" {
		t.Errorf("ran %q, %v; want abab", got, err)
	}
	var b bytes.Buffer
	if err := newReport(results, 2).writeMarkdown(&b); err != nil || !strings.Contains(b.String(), "| a | m | 500.0 ms (0.00 µs to 1.00 s) |") {
		t.Errorf("%v; the table is\n%s", err, b.String())
	}
	if _, err := measure(t.Context(), []benchCase{one("bad")}, 2, func(string) {}); err == nil {
		t.Error("a measurement that can't be made is no error")
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
