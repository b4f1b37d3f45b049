package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is a report with one row of each sort.
func sample() *report {
	rows := []result{
		{workload: "w", metric: metric{"messages", unitRate, "x", atLeast(2).ofPeer()}, ours: []float64{9, 6, 3}, theirs: []float64{3, 3, 3}},
		{workload: "w", metric: metric{"CPU <of one>", unitSeconds, "x", atMost(0.8).ofPeer()}, ours: []float64{1}, theirs: []float64{1}},
		{workload: "w", metric: metric{"p50", unitSeconds, "x", atMost(0.002)}, ours: []float64{0.001}, theirs: []float64{9}},
		{workload: "w", metric: metric{"without peer and goal", unitSeconds, "", goal{}}, ours: []float64{1}},
		{workload: "w", metric: metric{"none allowed", unitCount, "", atMost(0)}, ours: []float64{0}},
	}
	return newReport(rows, 3)
}

func TestPanels(t *testing.T) {
	var got []string
	for _, p := range sample().panels() {
		for _, m := range p.marks {
			got = append(got, strings.Join([]string{p.title[:4], m.metric, unitRatio.format(m.ratio.Median), unitRatio.format(m.goal.Limit)}, "|"))
		}
	}
	want := []string{"Rate|messages / x|2.00|2.00", "Time|CPU <of one> / x|1.00|0.80", "What|p50: at most 2.0 ms|0.50|1.00"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScale(t *testing.T) {
	tests := []struct {
		name  string
		ratio float64
		want  float64
	}{
		{"the least", 0.25, plotLeft},
		{"the most", 4, plotRight},
		{"as much as the peer", 1, (plotLeft + plotRight) / 2},
		{"less than is drawn", 0, plotLeft},
		{"more than is drawn", math.Inf(1), plotRight},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := panel{marks: []mark{{ratio: summary{1, 0.3, 3.5}}}}.scale()
			if got := s.x(tt.ratio); got != tt.want {
				t.Errorf("%g is at %g, want %g", tt.ratio, got, tt.want)
			}
		})
	}
}

// What is drawn of readings that were written and read is the same, and XML.
func TestSVG(t *testing.T) {
	r := sample()
	file := filepath.Join(t.TempDir(), "readings.json")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.writeJSON(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	var before, after bytes.Buffer
	if err := errors.Join(r.writeSVG(&before), read.writeSVG(&after)); err != nil {
		t.Fatal(err)
	}
	if before.String() != after.String() {
		t.Error("the readings of the file are drawn otherwise")
	}
	for colour, want := range map[string]int{inkReached: 2, inkMissed: 1} { // of dots
		if got := strings.Count(after.String(), `r="4.5" fill="`+colour); got != want {
			t.Errorf("%d dots are %s, want %d", got, colour, want)
		}
	}
	for d := xml.NewDecoder(&after); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
