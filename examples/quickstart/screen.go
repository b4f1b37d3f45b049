package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"
)

// A screen shows what happens: in a terminal with a picture below that moves,
// else as plain lines.
type screen struct {
	out     *os.File
	live    bool
	colour  bool
	began   time.Time
	picture func(width, height int) []string
	changed bool  // since it was drawn
	drawn   int   // lines of it that stand below the log
	err     error // of the first write that failed
}

func newScreen(out *os.File) *screen {
	// Consoles of Windows may not know the sequences.
	live := term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb" && runtime.GOOS != "windows"
	return &screen{out: out, live: live, colour: live && os.Getenv("NO_COLOR") == "", began: time.Now()}
}

// The styles, as ECMA-48 has them.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (s *screen) style(code, text string) string {
	if !s.colour {
		return text
	}
	return code + text + plain
}

// The signs that begin a line of the log.
const (
	arrow = "→"
	check = "✔"
	cross = "✗"
)

func (s *screen) title(format string, args ...any) {
	s.print("\n  %s\n", s.style(bold, fmt.Sprintf(format, args...)))
}

// log adds a line that begins with a sign, and the time since the start.
func (s *screen) log(sign, format string, args ...any) {
	stamp := s.style(dim, fmt.Sprintf("%6.2fs", time.Since(s.began).Seconds()))
	colour := map[string]string{arrow: dim, check: green, cross: red}[sign]
	s.print("  %s  %s %s", stamp, s.style(colour, sign), fmt.Sprintf(format, args...))
}

// print adds a line above the picture.
func (s *screen) print(format string, args ...any) { s.write(fmt.Sprintf(format, args...) + "\n") }

// draw shows the picture if it has changed.
func (s *screen) draw() {
	if s.changed {
		s.write("")
	}
}

// clear takes the picture away for good.
func (s *screen) clear() {
	s.picture = nil
	s.write("")
}

// write puts text in the picture's place, and the picture below it, at once, so
// that nothing flickers.
func (s *screen) write(text string) {
	s.changed = false
	if !s.live {
		s.put(text)
		return
	}
	var lines []string
	if s.picture != nil {
		width, height, err := term.GetSize(int(s.out.Fd()))
		if err != nil || width <= 0 {
			width, height = 80, 24
		}
		lines = s.picture(width, height)
	}
	var b strings.Builder
	b.WriteString("\r") // the terminal may have echoed ^C
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	b.WriteString(strings.ReplaceAll(text, "\n", "\x1b[K\n"))
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	s.put(b.String())
}

// put writes no more once that has failed.
func (s *screen) put(text string) {
	if s.err == nil {
		_, s.err = s.out.WriteString(text)
	}
}

// count is "1 link" or "2 links".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
