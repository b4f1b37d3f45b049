package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// A result is what all rounds say of one metric of one workload.
type result struct {
	workload     string
	metric       metric
	ours, theirs []float64
}

func newResults(c benchCase) []result {
	var all []result
	for _, m := range c.metrics {
		all = append(all, result{workload: c.name, metric: m})
	}
	return all
}

func (r *result) add(x reading) {
	r.ours = append(r.ours, x.ours)
	if r.metric.peer != "" {
		r.theirs = append(r.theirs, x.theirs)
	}
}

// ratios are those of each round: what disturbs the machine for longer than one
// disturbs both.
func (r *result) ratios() []float64 {
	ratios := make([]float64, len(r.theirs))
	for i, theirs := range r.theirs {
		ratios[i] = r.ours[i] / theirs
	}
	return ratios
}

// A summary is a median and its spread.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize needs at least one value.
func summarize(values []float64) summary {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return summary{Median: (s[(n-1)/2] + s[n/2]) / 2, Min: s[0], Max: s[n-1]}
}

// A row is a result as it is reported.
type row struct {
	Workload string `json:"workload"`
	Metric   string `json:"metric"`
	Unit     unit   `json:"unit"`

	Ours   []float64 `json:"ours"` // by round; without those in which it failed
	Peer   string    `json:"peer,omitempty"`
	Theirs []float64 `json:"theirs,omitempty"`

	Summary      summary  `json:"summary"`
	PeerSummary  *summary `json:"peer_summary,omitempty"`
	RatioSummary *summary `json:"ratio_summary,omitempty"`

	Goal    *goal `json:"goal,omitempty"`
	Reached *bool `json:"reached,omitempty"`
}

func (r *result) row() row {
	out := row{
		Workload: r.workload, Metric: r.metric.name, Unit: r.metric.unit, Ours: r.ours,
		Peer: r.metric.peer, Theirs: r.theirs, Summary: summarize(r.ours),
	}
	reading := out.Summary.Median
	if r.metric.peer != "" {
		theirs, ratio := summarize(r.theirs), summarize(r.ratios())
		out.PeerSummary, out.RatioSummary = &theirs, &ratio
		if r.metric.goal.OfPeer {
			reading = ratio.Median
		}
	}
	if goal := r.metric.goal; goal.Sense != "" {
		reached := goal.reached(reading)
		out.Goal, out.Reached = &goal, &reached
	}
	return out
}

// A report is what one run has measured, and on what.
type report struct {
	Go     string `json:"go"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Rounds int    `json:"rounds"`
	Rows   []row  `json:"results"`
}

// newReport leaves out what could be measured in no round.
func newReport(results []result, rounds int) *report {
	r := &report{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Rounds: rounds}
	for _, x := range results {
		if len(x.ours) > 0 {
			r.Rows = append(r.Rows, x.row())
		}
	}
	return r
}

// about says what the report is of.
func (r *report) about() string {
	return fmt.Sprintf("%s, %s/%s, %d CPUs, %d rounds", r.Go, r.OS, r.Arch, r.CPUs, r.Rounds)
}

// writeJSON writes all that was measured.
func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// readReport reads what writeJSON has written.
func readReport(file string) (*report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// writeMarkdown writes a table of medians, with the least and the most.
func (r *report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; median (min to max)\n\n", r.about())
	b.WriteString("| work | measured | mesh | peer | ratio | goal | reached |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.Rows {
		peer, ratio, goal, reached := "", "", "", ""
		if row.PeerSummary != nil {
			peer = row.Peer + " " + row.Unit.spread(*row.PeerSummary)
			ratio = unitRatio.spread(*row.RatioSummary)
		}
		if row.Goal != nil {
			goal = row.Goal.format(row.Unit)
			reached = map[bool]string{true: "yes", false: "**no**"}[*row.Reached]
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			row.Workload, row.Metric, row.Unit.spread(row.Summary), peer, ratio, goal, reached)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
