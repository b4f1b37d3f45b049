package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// maxLine is how many bytes one line may have that doesn't come from a terminal.
const maxLine = 1 << 20

// A console shows lines and reads some: in a terminal, what is being typed stays
// below what comes in meanwhile; elsewhere both are plain. Its methods may be
// called from any goroutine.
type console struct {
	readLine func() (string, error) // fails with io.EOF at the end, which Ctrl-C and Ctrl-D are too
	prompt   func(text string)
	close    func()

	mu  sync.Mutex
	out io.Writer
}

// openConsole has to be closed, or the terminal stays as no shell wants it.
func openConsole(in, out *os.File) (*console, error) {
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return plainConsole(in, out), nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	c := terminalConsole(in, out, func() (width, height int, err error) { return term.GetSize(int(out.Fd())) })
	c.close = func() {
		_ = term.Restore(int(in.Fd()), before) // or nothing can be done
		fmt.Fprint(out, "\r\x1b[K")            // takes the last prompt away
	}
	return c, nil
}

func plainConsole(in io.Reader, out io.Writer) *console {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	return &console{
		readLine: func() (string, error) {
			if lines.Scan() {
				return lines.Text(), nil
			}
			if err := lines.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		},
		prompt: func(string) {},
		close:  func() {},
		out:    out,
	}
}

// terminalConsole edits lines itself, for a terminal that is raw.
func terminalConsole(in io.Reader, out io.Writer, size func() (width, height int, err error)) *console {
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "")
	resize := func() {
		if width, height, err := size(); err == nil && width > 0 && height > 0 {
			_ = t.SetSize(width, height) // its output is checked by nobody
		}
	}
	resize()
	return &console{
		readLine: func() (string, error) {
			resize() // it may have another size by now
			return t.ReadLine()
		},
		prompt: t.SetPrompt,
		close:  func() {},
		out:    t,
	}
}

// show adds a line.
func (c *console) show(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.out, line)
}
