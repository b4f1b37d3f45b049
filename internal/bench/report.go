package main

import (
	"encoding/json"
	"fmt"
	"io"
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
	Unit     string `json:"unit"`

	Ours   []float64 `json:"ours"` // by round
	Peer   string    `json:"peer,omitempty"`
	Theirs []float64 `json:"theirs,omitempty"`

	Summary      summary  `json:"summary"`
	PeerSummary  *summary `json:"peer_summary,omitempty"`
	RatioSummary *summary `json:"ratio_summary,omitempty"`

	Most      float64 `json:"goal,omitempty"`
	MostRatio float64 `json:"ratio_goal,omitempty"`
	Reached   *bool   `json:"reached,omitempty"`
}

func (r *result) row() row {
	out := row{
		Workload: r.workload, Metric: r.metric.name, Unit: string(r.metric.unit), Ours: r.ours,
		Peer: r.metric.peer, Theirs: r.theirs, Summary: summarize(r.ours),
		Most: r.metric.most, MostRatio: r.metric.mostRatio,
	}
	reached := true
	if r.metric.peer != "" {
		theirs, ratio := summarize(r.theirs), summarize(r.ratios())
		out.PeerSummary, out.RatioSummary = &theirs, &ratio
		reached = out.MostRatio == 0 || ratio.Median <= out.MostRatio
	}
	if out.Most > 0 {
		reached = reached && out.Summary.Median <= out.Most
	}
	if out.Most > 0 || out.MostRatio > 0 {
		out.Reached = &reached
	}
	return out
}

// writeJSON writes all that was measured.
func writeJSON(w io.Writer, results []result) error {
	report := struct {
		Go   string `json:"go"`
		OS   string `json:"os"`
		Arch string `json:"arch"`
		CPUs int    `json:"cpus"`
		Rows []row  `json:"results"`
	}{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	for _, r := range results {
		report.Rows = append(report.Rows, r.row())
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// writeMarkdown writes a table of medians, with the least and the most.
func writeMarkdown(w io.Writer, results []result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %d CPUs, %d rounds; median (min to max)\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(results[0].ours))
	b.WriteString("| work | measured | mesh | peer | ratio | goal | reached |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		row := r.row()
		peer, ratio, goal, reached := "", "", "", ""
		if row.PeerSummary != nil {
			peer = row.Peer + " " + r.metric.unit.spread(*row.PeerSummary)
			ratio = unitRatio.spread(*row.RatioSummary)
		}
		switch {
		case row.Most > 0:
			goal = r.metric.unit.format(row.Most)
		case row.MostRatio > 0:
			goal = "ratio " + unitRatio.format(row.MostRatio)
		}
		if row.Reached != nil {
			reached = map[bool]string{true: "yes", false: "**no**"}[*row.Reached]
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			row.Workload, row.Metric, r.metric.unit.spread(row.Summary), peer, ratio, goal, reached)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A unit is what a metric is in.
type unit string

const (
	unitSeconds unit = "s"
	unitBytes   unit = "B"
	unitShare   unit = "s/s" // seconds of CPU a second
	unitRatio   unit = ""
)

// format writes a value with the prefix that suits it.
func (u unit) format(v float64) string {
	switch {
	case u == unitRatio:
		return fmt.Sprintf("%.2f", v)
	case u == unitBytes:
		return fmt.Sprintf("%.1f kB", v/1e3)
	case u == unitShare:
		return fmt.Sprintf("%.2f ms/s", v*1e3)
	case v < 1:
		return fmt.Sprintf("%.1f ms", v*1e3)
	default:
		return fmt.Sprintf("%.2f s", v)
	}
}

func (u unit) spread(s summary) string {
	return fmt.Sprintf("%s (%s to %s)", u.format(s.Median), u.format(s.Min), u.format(s.Max))
}
