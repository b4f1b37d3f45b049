package main

import (
	"fmt"
	"strings"
)

// logRoom is how many lines of a terminal the picture leaves to the log.
const logRoom = 10

// picture shows who is linked with whom: a row and a column for each node, or,
// where that has no room, a dot for each link. Nothing is wider than width, and
// less than height is used.
func picture(nodes []*process, style func(code, text string) string, width, height int) []string {
	sum := fmt.Sprintf("  %d of %d links", linked(nodes), pairs(len(nodes)))
	lines := rows(nodes, style, width)
	if lines == nil || len(lines)+2 > height-logRoom {
		lines = dots(nodes, style, width)
		if long := sum + ", a dot for each end"; len(long) <= width {
			sum = long
		}
	}
	if len(lines)+2 >= height {
		lines = nil
	}
	if len(sum) > width {
		return nil
	}
	return append(append([]string{""}, lines...), style(dim, sum))
}

// rows is a line for each node. It is nil if that would be too wide.
func rows(nodes []*process, style func(code, text string) string, width int) []string {
	gap, used := " ", 11+2*len(nodes)
	if used > width {
		gap, used = "", 11+len(nodes)
	}
	if used > width {
		return nil
	}
	lines := make([]string, 0, len(nodes))
	for _, p := range nodes {
		var b strings.Builder
		fmt.Fprintf(&b, "  %-7s ", p.name)
		for _, o := range nodes {
			b.WriteString(gap + mark(p, o, style))
		}
		about := fmt.Sprintf("  pid %d", p.pid())
		if p.state != started {
			about = "  " + string(p.state)
		}
		if used+len(about) <= width {
			b.WriteString(style(dim, about))
		}
		lines = append(lines, b.String())
	}
	return lines
}

// mark is what p says of o.
func mark(p, o *process, style func(code, text string) string) string {
	switch {
	case p == o || p.state == left || o.state == left:
		return style(dim, "·")
	case p.state == killed:
		return style(red, "✗")
	case p.sees(o) && o.state == killed:
		return style(yellow, "●") // it hasn't noticed yet
	case p.sees(o):
		return style(green, "●")
	case o.state == killed:
		return style(red, "✗")
	default:
		return style(dim, "○")
	}
}

// dots packs eight marks into a character: those of two nodes across and four
// down. It is nil if even that would be too wide.
func dots(nodes []*process, style func(code, text string) string, width int) []string {
	// In Unicode, a braille pattern's dots are the bits of its number.
	bits := [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}
	if 3+len(nodes)/2 > width {
		return nil
	}
	var lines []string
	for y := 0; y < len(nodes); y += 4 {
		var line strings.Builder
		line.WriteString("  ")
		for x := 0; x < len(nodes); x += 2 {
			cell, code := rune(0x2800), green
			for i, p := range nodes[y:min(y+4, len(nodes))] {
				for j, o := range nodes[x:min(x+2, len(nodes))] {
					if p.sees(o) {
						cell |= bits[i][j]
					}
					if p.state == killed || o.state == killed {
						code = red
					}
				}
			}
			line.WriteString(style(code, string(cell)))
		}
		lines = append(lines, line.String())
	}
	return lines
}

// linked counts the pairs of which both say that they are linked.
func linked(nodes []*process) int {
	n := 0
	for i, p := range nodes {
		for _, o := range nodes[i+1:] {
			if p.sees(o) && o.sees(p) {
				n++
			}
		}
	}
	return n
}

// pairs is how many there are of n nodes.
func pairs(n int) int { return n * (n - 1) / 2 }
