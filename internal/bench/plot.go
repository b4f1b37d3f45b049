package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 1000
	plotLeft   = 500 // where the scales begin
	plotRight  = 850 // and end
	plotMargin = 24
	rowHeight  = 22
	headHeight = 64 // of a panel
)

// The plot's colours.
const (
	inkText    = "#1f2933"
	inkFaint   = "#6b7785"
	inkGrid    = "#dde3ea"
	inkGoal    = "#d5efdd" // where a goal is reached
	inkReached = "#1a7f4b"
	inkMissed  = "#c8372d"
	inkNone    = "#7b8794"
)

// A panel is the rows that have one scale.
type panel struct {
	title, better string
	marks         []mark
}

// A mark is a ratio, and what it should be.
type mark struct {
	workload, metric string
	ratio            summary
	goal             *goal // of the ratio
	reached          *bool
}

// panels are the rows that can be drawn: those with a peer, and those whose goal
// is a value, as a part of that.
func (r *report) panels() []panel {
	more := panel{title: "Rates, as a multiple of the peer's", better: "more is better →"}
	less := panel{title: "Time, CPU and memory, as a multiple of the peer's", better: "← less is better"}
	bound := panel{title: "What has a bound, as a part of that", better: "← less is better"}
	for _, row := range r.Rows {
		m := mark{workload: row.Workload, metric: row.Metric, reached: row.Reached}
		switch {
		case row.Goal != nil && !row.Goal.OfPeer:
			if row.Goal.Limit == 0 {
				continue
			}
			m.metric += ": " + row.Goal.format(row.Unit)
			limit := atMost(1)
			m.goal, m.ratio = &limit, row.Summary.over(row.Goal.Limit)
			bound.marks = append(bound.marks, m)
		case row.RatioSummary == nil:
			continue
		default:
			m.metric += " / " + row.Peer
			m.goal, m.ratio = row.Goal, *row.RatioSummary
			if row.Unit == unitRate || row.Unit == unitFlow {
				more.marks = append(more.marks, m)
			} else {
				less.marks = append(less.marks, m)
			}
		}
	}
	return slices.DeleteFunc([]panel{more, less, bound}, func(p panel) bool { return len(p.marks) == 0 })
}

func (s summary) over(d float64) summary {
	return summary{Median: s.Median / d, Min: s.Min / d, Max: s.Max / d}
}

// A scale is logarithmic: each doubling is as wide as the next.
type scale struct{ from, to int } // powers of two

// mostDoublings keeps what is next to nothing from widening the scale.
const mostDoublings = 6

func (p panel) scale() scale {
	s := scale{from: -1, to: 1}
	widen := func(v float64) {
		l := math.Log2(v)
		s.from = max(min(s.from, int(math.Floor(l))), -mostDoublings)
		s.to = min(max(s.to, int(math.Ceil(l))), mostDoublings)
	}
	for _, m := range p.marks {
		widen(max(m.ratio.Min, math.SmallestNonzeroFloat64))
		widen(max(m.ratio.Max, math.SmallestNonzeroFloat64))
		if m.goal != nil {
			widen(m.goal.Limit)
		}
	}
	return s
}

// x is where a ratio is; what is outside is at the edge.
func (s scale) x(ratio float64) float64 {
	l := min(max(math.Log2(ratio), float64(s.from)), float64(s.to))
	return plotLeft + (l-float64(s.from))/float64(s.to-s.from)*(plotRight-plotLeft)
}

// writeSVG draws the ratios, their spread and their goals.
func (r *report) writeSVG(w io.Writer) error {
	d := &drawing{}
	y := float64(plotMargin)
	for _, p := range r.panels() {
		y = d.panel(p, y)
	}
	d.text(plotMargin, y+4, 12, inkFaint, "start", "", r.about()+"; dots are medians, lines go from the least to the most")
	height := int(y) + plotMargin
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="system-ui, 'DejaVu Sans', sans-serif">`+"\n"+
		`<rect width="100%%" height="100%%" rx="8" fill="#ffffff"/>`+"\n%s</svg>\n", plotWidth, height, d.b.String())
	return err
}

// A drawing collects elements.
type drawing struct{ b strings.Builder }

func (d *drawing) text(x, y, size float64, ink, anchor, weight, text string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" font-size="%g" fill="%s" text-anchor="%s" font-weight="%s">%s</text>`+"\n",
		x, y, size, ink, anchor, cmp.Or(weight, "normal"), html.EscapeString(text))
}

func (d *drawing) line(x1, y1, x2, y2, width float64, ink string) {
	fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g" stroke-linecap="round"/>`+"\n", x1, y1, x2, y2, ink, width)
}

func (d *drawing) rect(x, y, width, height float64, ink string) {
	fmt.Fprintf(&d.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, width, height, ink)
}

// panel draws a panel, and returns where the next one begins.
func (d *drawing) panel(p panel, y float64) float64 {
	s := p.scale()
	d.text(plotMargin, y+16, 16, inkText, "start", "600", p.title)
	d.text(plotRight, y+16, 12, inkFaint, "end", "", p.better)
	top, bottom := y+headHeight-14, y+headHeight+float64(len(p.marks)*rowHeight)
	for i, m := range p.marks {
		d.goal(m, s, y+headHeight+float64(i*rowHeight))
	}
	for power := s.from; power <= s.to; power++ {
		value := fmt.Sprint(1 << max(power, 0))
		if power < 0 {
			value = fmt.Sprintf("1/%d", 1<<-power)
		}
		x := s.x(math.Exp2(float64(power)))
		width, ink := 1.0, inkGrid
		if power == 0 {
			width, ink = 1.5, inkNone
		}
		d.line(x, top, x, bottom, width, ink)
		d.text(x, top-6, 11, inkFaint, "middle", "", value)
	}
	before := ""
	for i, m := range p.marks {
		at := y + headHeight + float64(i*rowHeight)
		if m.workload != before {
			if i > 0 {
				d.line(plotMargin, at, plotWidth-plotMargin, at, 1, inkGrid)
			}
			d.text(plotMargin, at+15, 12, inkText, "start", "600", m.workload)
			before = m.workload
		}
		d.mark(m, s, at)
	}
	return bottom + rowHeight
}

// goal shades where a ratio reaches its goal.
func (d *drawing) goal(m mark, s scale, y float64) {
	if m.goal == nil {
		return
	}
	x := s.x(m.goal.Limit)
	from, to := float64(plotLeft), x
	if m.goal.Sense == senseLeast {
		from, to = x, plotRight
	}
	d.rect(from, y+3, to-from, rowHeight-6, inkGoal)
}

func (d *drawing) mark(m mark, s scale, y float64) {
	ink, value := inkNone, fmt.Sprintf("%.2f", m.ratio.Median)
	if m.goal != nil {
		limit := s.x(m.goal.Limit)
		d.line(limit, y+4, limit, y+rowHeight-4, 3, inkReached)
		ink = inkReached
		if !*m.reached {
			ink = inkMissed
		}
		if m.goal.Limit != 1 || m.goal.Sense != senseMost {
			value += fmt.Sprintf(" (%s %g)", map[sense]string{senseMost: "≤", senseLeast: "≥"}[m.goal.Sense], m.goal.Limit)
		}
	}
	middle := y + rowHeight/2
	d.text(plotLeft-14, y+15, 12, inkText, "end", "", m.metric)
	d.line(s.x(m.ratio.Min), middle, s.x(m.ratio.Max), middle, 2, ink)
	fmt.Fprintf(&d.b, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s"/>`+"\n", s.x(m.ratio.Median), middle, ink)
	d.text(plotRight+14, y+15, 12, ink, "start", "600", value)
}
