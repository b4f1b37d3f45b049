package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// lines is how much each says to each of their rooms.
const lines = 20

// A demo is the life of some rooms. One goroutine owns it.
type demo struct {
	out    io.Writer
	began  time.Time
	output *output
	people []*person
	dir    string
	said   int                             // lines
	due    map[*person]map[string][]string // what each has to hear, by room and name
}

// show runs the demo. Its error names the step that failed, each of which may take
// as long as limit.
func show(ctx context.Context, out io.Writer, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "pubsub-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // which is a temporary folder
	d := &demo{out: out, began: time.Now(), output: newOutput(), due: map[*person]map[string][]string{}, dir: dir}
	defer func() { d.output.close(d.people) }()
	fmt.Fprint(out, "\n  A chat over the mesh: each room is a topic\n\n")
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"all find who else is in their rooms", d.start},
		{"every member of a room hears every line", d.talk},
		{"who has left a room hears no more of it", d.leaveRoom},
		{"the others see that one is killed", d.kill},
		{"all leave, and have heard nothing of another room", d.leave},
	} {
		ctx, cancel := context.WithTimeout(ctx, limit)
		err := step.do(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("this step failed: %s: %w", step.name, err)
		}
	}
	fmt.Fprintln(out)
	return nil
}

// log adds a line that begins with the time since the start.
func (d *demo) log(sign, format string, args ...any) {
	fmt.Fprintf(d.out, "  %6.2fs  %s %s\n", time.Since(d.began).Seconds(), sign, fmt.Sprintf(format, args...))
}

func (d *demo) start(ctx context.Context) error {
	for _, s := range []settings{
		{name: "ann", rooms: []string{"go"}},
		{name: "bob", rooms: []string{"go", "rust"}},
		{name: "cid", rooms: []string{"rust"}},
		{name: "dan", rooms: []string{"go", "rust"}},
		{name: "eve", rooms: []string{"zig"}},
	} {
		d.log("→", "%s joins %s", s.name, strings.Join(s.rooms, " and "))
		s.dir = d.dir
		p, err := spawn(ctx, s, d.output)
		if err != nil {
			return err
		}
		d.people = append(d.people, p)
		d.due[p] = map[string][]string{}
	}
	if err := d.until(ctx, d.acquainted); err != nil {
		return err
	}
	d.log("✔", "all see who else is in their rooms")
	return nil
}

// acquainted is that each sees those of their rooms who are there, and nobody else.
func (d *demo) acquainted() bool {
	for _, p := range d.people {
		for _, o := range d.people {
			for _, room := range []string{"go", "rust", "zig"} {
				want := p != o && p.isIn(room) && o.isIn(room) && p.state != killed && o.state != killed
				if p.state != killed && p.isIn(room) && p.present[in(room, o.name)] != want {
					return false
				}
			}
		}
	}
	return true
}

func (p *person) isIn(room string) bool { return slices.Contains(p.rooms, room) }

// talk has each say something to each of their rooms.
func (d *demo) talk(ctx context.Context) error {
	said := 0
	for _, p := range d.people {
		for _, room := range p.rooms {
			said += d.say(p, room)
		}
	}
	if err := d.until(ctx, d.heard); err != nil {
		return err
	}
	d.log("✔", "%d lines were said: each was heard by every other member of its room, in order", said)
	return nil
}

// say has one say some lines to a room, and returns how many. The other members are
// due to hear them.
func (d *demo) say(p *person, room string) int {
	fmt.Fprintln(p.input, "/join "+room) // what follows is for that, though there may be others
	for range lines {
		d.said++
		text := fmt.Sprintf("this is line %d, for %s", d.said, room)
		fmt.Fprintln(p.input, text)
		for _, o := range d.people {
			if o != p && o.isIn(room) {
				d.due[o][in(room, p.name)] = append(d.due[o][in(room, p.name)], text)
			}
		}
	}
	return lines
}

// heard is that all have heard what they are due to hear, and nothing else.
func (d *demo) heard() bool {
	return !slices.ContainsFunc(d.people, func(p *person) bool { return !maps.EqualFunc(p.heard, d.due[p], slices.Equal) })
}

// leaveRoom has bob leave a room in which ann and dan go on.
func (d *demo) leaveRoom(ctx context.Context) error {
	ann, bob, dan := d.people[0], d.people[1], d.people[3]
	fmt.Fprintln(bob.input, "/join go\n/leave")
	bob.rooms = []string{"rust"}
	if err := d.until(ctx, d.acquainted); err != nil {
		return err
	}
	said := d.say(ann, "go") + d.say(dan, "go")
	if err := d.until(ctx, d.heard); err != nil {
		return err
	}
	d.log("✔", "bob has left go: %d more lines there were heard by ann and dan alone", said)
	return nil
}

func (d *demo) kill(ctx context.Context) error {
	dan := d.people[3]
	d.log("✗", "kill -9 dan (pid %d)", dan.cmd.Process.Pid)
	if err := dan.kill(); err != nil {
		return err
	}
	if err := d.until(ctx, d.acquainted); err != nil {
		return err
	}
	d.log("✔", "ann, bob and cid see that dan is gone")
	return nil
}

// leave has all leave, and looks at all that they have ever heard: nothing comes any
// more.
func (d *demo) leave(ctx context.Context) error {
	for _, p := range d.people {
		if p.state != killed {
			p.leave()
		}
	}
	gone := func() bool { return !slices.ContainsFunc(d.people, func(p *person) bool { return !p.ended }) }
	if err := d.until(ctx, gone); err != nil {
		return err
	}
	if !d.heard() {
		return fmt.Errorf("somebody heard too much: %s", d.account())
	}
	d.log("✔", "all have left, and nobody has heard anything of a room that they weren't in")
	return nil
}

// until takes what the chats show until ok. Its error says where they stand.
func (d *demo) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case s := <-d.output.lines:
			if err := s.by.take(s); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), d.account())
		}
	}
	return nil
}

// account is what each has seen and heard.
func (d *demo) account() string {
	var parts []string
	for _, p := range d.people {
		heard := 0
		for _, lines := range p.heard {
			heard += len(lines)
		}
		due := 0
		for _, lines := range d.due[p] {
			due += len(lines)
		}
		parts = append(parts, fmt.Sprintf("%s of %s sees %v, and has heard %d lines of %d", p.name, p.rooms, p.present, heard, due))
	}
	return strings.Join(parts, "; ")
}
