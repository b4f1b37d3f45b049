package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// leaveWithin is how long a process may take to leave.
const leaveWithin = 5 * time.Second

var errUnasked = errors.New("nobody asked it to")

// A person is a chat that this program has started, and what it has shown.
type person struct {
	settings
	cmd   *exec.Cmd
	input io.WriteCloser // the chat ends with it, which it also does if this program is killed

	present map[string]bool     // "[room] name"
	heard   map[string][]string // by "[room] name"
	state   state
	ended   bool
}

// A state is what this program has done to a person.
type state string

const (
	started state = ""
	killed  state = "killed"
	left    state = "left"
)

// A shown is a line that a chat has shown, or that it has ended, which err
// explains.
type shown struct {
	by    *person
	line  string
	ended bool
	err   error
}

// An output collects what all chats show.
type output struct {
	lines   chan shown
	ignored chan struct{} // closed when nobody reads lines any more
	readers sync.WaitGroup
}

func newOutput() *output { return &output{lines: make(chan shown), ignored: make(chan struct{})} }

// spawn starts this program again as one chat, which lives until it is killed or
// its input ends: ctx may be that of one step.
func spawn(ctx context.Context, s settings, to *output) (*person, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &person{settings: s, present: map[string]bool{}, heard: map[string][]string{}}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), self, "-name", s.name, "-room", strings.Join(s.rooms, ","), "-dir", s.dir)
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.name, err)
	}
	to.readers.Go(func() { to.read(p, stdout) })
	return p, nil
}

// read passes on what a chat shows, until it has ended.
func (o *output) read(p *person, stdout io.Reader) {
	put := func(s shown) {
		select {
		case o.lines <- s:
		case <-o.ignored:
		}
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		put(shown{by: p, line: lines.Text()})
	}
	put(shown{by: p, ended: true, err: p.cmd.Wait()})
}

// take keeps what a chat shows. An end that nobody asked for, a bad one, and an
// error that it shows are errors.
func (p *person) take(s shown) error {
	if s.ended {
		p.ended = true
		if p.state == started || p.state == left && s.err != nil {
			return fmt.Errorf("%s has ended: %w", p.name, cmp.Or(s.err, errUnasked))
		}
		return nil
	}
	room, rest, ok := strings.Cut(s.line, "] ")
	if !ok {
		if strings.HasPrefix(s.line, "error: ") {
			return fmt.Errorf("%s shows %q", p.name, s.line)
		}
		return nil
	}
	if who, ok := strings.CutPrefix(rest, "* "); ok {
		name, what, _ := strings.Cut(who, " ")
		p.present[room+"] "+name] = what == "is here"
		return nil
	}
	name, text, _ := strings.Cut(rest, ": ")
	p.heard[room+"] "+name] = append(p.heard[room+"] "+name], text)
	return nil
}

// in is the key of a person in a room.
func in(room, name string) string { return "[" + room + "] " + name }

// kill doesn't let the chat say goodbye.
func (p *person) kill() error {
	p.state = killed
	return p.cmd.Process.Kill()
}

// leave ends the chat's input.
func (p *person) leave() {
	p.state = left
	_ = p.input.Close() // it may have ended
}

// close has all leave, kills those that don't, and returns when all have ended.
func (o *output) close(people []*person) {
	close(o.ignored)
	for _, p := range people {
		p.leave()
	}
	impatient := time.AfterFunc(leaveWithin, func() {
		for _, p := range people {
			_ = p.cmd.Process.Kill() // it may have ended
		}
	})
	defer impatient.Stop()
	o.readers.Wait()
}
