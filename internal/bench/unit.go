package main

import "fmt"

// A unit is what a metric is in.
type unit string

const (
	unitSeconds unit = "s"
	unitBytes   unit = "B"
	unitShare   unit = "s/s" // seconds of CPU a second
	unitRate    unit = "1/s"
	unitFlow    unit = "B/s"
	unitCount   unit = "1"
	unitRatio   unit = ""
)

// format writes a value with the prefix that suits it.
func (u unit) format(v float64) string {
	switch {
	case u == unitRatio || u == unitCount:
		return fmt.Sprintf("%.2f", v)
	case u == unitBytes:
		return fmt.Sprintf("%.1f kB", v/1e3)
	case u == unitShare:
		return fmt.Sprintf("%.2f ms/s", v*1e3)
	case u == unitRate:
		return fmt.Sprintf("%.1f k/s", v/1e3)
	case u == unitFlow:
		return fmt.Sprintf("%.0f MB/s", v/1e6)
	case v < 1e-3:
		return fmt.Sprintf("%.2f µs", v*1e6)
	case v < 1:
		return fmt.Sprintf("%.1f ms", v*1e3)
	default:
		return fmt.Sprintf("%.2f s", v)
	}
}

func (u unit) spread(s summary) string {
	return fmt.Sprintf("%s (%s to %s)", u.format(s.Median), u.format(s.Min), u.format(s.Max))
}

// A sense is on which side of its goal a reading should be.
type sense string

const (
	senseMost  sense = "at most"
	senseLeast sense = "at least"
)

// A goal is what a metric should come to. The zero goal is none.
type goal struct {
	Sense  sense   `json:"sense"`
	Limit  float64 `json:"limit"`
	OfPeer bool    `json:"of_peer"` // the limit is a multiple of the peer's, not a value
}

func atMost(limit float64) goal { return goal{Sense: senseMost, Limit: limit} }

func atLeast(limit float64) goal { return goal{Sense: senseLeast, Limit: limit} }

func (g goal) ofPeer() goal {
	g.OfPeer = true
	return g
}

func (g goal) reached(v float64) bool {
	if g.Sense == senseLeast {
		return v >= g.Limit
	}
	return v <= g.Limit
}

// format writes the goal of a metric in that unit.
func (g goal) format(u unit) string {
	if g.OfPeer {
		return string(g.Sense) + " " + unitRatio.format(g.Limit) + " of it"
	}
	return string(g.Sense) + " " + u.format(g.Limit)
}
