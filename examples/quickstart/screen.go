package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/libcluster-go/cluster"
)

// A screen shows what happens: in a terminal with a picture of the links that
// moves, else as plain lines.
type screen struct {
	out   io.Writer
	live  bool
	began time.Time
	drawn int // lines of the picture that stand below the log
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

func (s *screen) style(code, text string) string {
	if !s.live {
		return text
	}
	return code + text + plain
}

// log adds a line, with the time since the start.
func (s *screen) log(format string, args ...any) {
	s.erase()
	stamp := fmt.Sprintf("%6.2fs", time.Since(s.began).Seconds())
	fmt.Fprintf(s.out, "  %s  %s\n", s.style(dim, stamp), fmt.Sprintf(format, args...))
}

func (s *screen) done(format string, args ...any) {
	s.log("%s %s", s.style(green, "✔"), fmt.Sprintf(format, args...))
}

// erase takes the picture away.
func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// draw shows who is linked with whom, in a terminal only.
func (s *screen) draw(nodes []*process) {
	if !s.live {
		return
	}
	s.erase()
	var b strings.Builder
	b.WriteString("\n")
	for _, p := range nodes {
		fmt.Fprintf(&b, "  %-8s ", p.name)
		for _, o := range nodes {
			b.WriteString(" " + s.mark(p, o))
		}
		fmt.Fprintf(&b, "  %s\n", s.style(dim, fmt.Sprintf("%s, pid %d", p.node, p.cmd.Process.Pid)))
	}
	fmt.Fprint(s.out, b.String())
	s.drawn = len(nodes) + 1
}

func (s *screen) mark(p, o *process) string {
	switch {
	case p == o:
		return s.style(dim, "·")
	case p.down:
		return s.style(red, "✗")
	case slices.Contains(p.sees, o.node):
		return s.style(green, "●")
	default:
		return "○"
	}
}

// summary prints the times that were measured.
func (s *screen) summary(t times) {
	s.erase()
	row := func(what string, d time.Duration) {
		fmt.Fprintf(s.out, "  %-26s %s\n", what, s.style(bold, fmt.Sprintf("%7.1f ms", float64(d.Microseconds())/1000)))
	}
	fmt.Fprintln(s.out)
	row("time to full mesh", t.form)
	row("time to notice the loss", t.notice)
	row("time to heal", t.heal)
}

// nodesOf joins names for people.
func nodesOf(nodes []cluster.Node) string {
	var names []string
	for _, n := range nodes {
		names = append(names, string(n))
	}
	return strings.Join(names, ", ")
}
