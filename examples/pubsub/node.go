package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/strategy/local"
	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const help = "/join ROOM, /leave [ROOM], /who, /help, /quit"

// Settings are what one who chats is started with.
type settings struct {
	name  string
	rooms []string
	dir   string // where the chats of this machine find each other, and their secret
}

// check refuses what others couldn't be told.
func (s *settings) check() error {
	if _, err := transport.ParseNode(s.name + "@localhost:1"); err != nil {
		return fmt.Errorf("-name is %.70q: want what can be the name of a node: %w", s.name, err)
	}
	for _, room := range s.rooms {
		if err := checkRoom(room); err != nil {
			return fmt.Errorf("-room: %w", err)
		}
	}
	return nil
}

// talk is a chat of this machine, until ctx is done or the console ends.
func talk(ctx context.Context, s settings, at *console) error {
	secret, err := sharedSecret(s.dir)
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler) // the console is for people
	m, err := mesh.Listen(mesh.Config{Name: s.name, Secrets: []string{secret}, Bind: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	c := newChat(m, at.show)
	err = c.joinAll(ctx, s.rooms) // before anybody can find this node
	var sup *cluster.Supervisor
	if err == nil {
		others := local.Strategy{Cluster: "pubsub", Dir: filepath.Join(s.dir, "registry")}
		sup, err = cluster.Start(ctx, []cluster.Topology{{Name: "chat", Strategy: others}},
			cluster.WithTransport(m), cluster.WithLogger(quiet))
	}
	if err != nil {
		stop()
		return errors.Join(err, m.Close())
	}
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx) })
	watching.Go(func() { complain(sup.Events(ctx), at.show) })
	err = c.converse(ctx, s.rooms[0], at)
	stop()
	err = errors.Join(err, sup.Wait(), m.Close())
	watching.Wait()
	return err
}

// complain shows, once each, whom this chat finds and yet can't hear: those that were
// started with another secret. Whoever can't be reached has just left.
func complain(events <-chan cluster.Event, show func(line string)) {
	told := map[cluster.Node]bool{}
	for e := range events {
		failed, ok := e.(cluster.ConnectFailed)
		if ok && errors.Is(failed.Err, mesh.ErrProof) && !told[failed.Node] {
			told[failed.Node] = true
			show(fmt.Sprintf("error: %s has another secret than you, so you don't hear each other; whoever came first has to start again", failed.Node))
		}
	}
}

func (c *chat) joinAll(ctx context.Context, rooms []string) error {
	for _, room := range rooms {
		if err := c.join(ctx, room); err != nil {
			return err
		}
	}
	return nil
}

// converse does what is typed, until ctx is done or the input ends. Room is where
// it begins.
func (c *chat) converse(ctx context.Context, room string, at *console) error {
	type typed struct {
		line string
		err  error
	}
	lines := make(chan typed)
	prompts := make(chan string, 1) // each asks for a line
	defer close(prompts)
	go func() { // which may wait for a line until the process ends
		for p := range prompts {
			at.prompt(p)
			line, err := at.readLine()
			select {
			case lines <- typed{line, err}:
			case <-ctx.Done():
			}
		}
	}()
	at.show(fmt.Sprintf("you are in %s; a line goes to %s; %s", strings.Join(c.joined(), " and "), room, help))
	for {
		prompts <- room + "> "
		var l typed
		select {
		case l = <-lines:
		case <-ctx.Done():
			return nil
		}
		switch {
		case errors.Is(l.err, io.EOF), strings.TrimSpace(l.line) == "/quit":
			return nil
		case l.err != nil:
			return fmt.Errorf("reading what is typed: %w", l.err)
		}
		var err error
		if room, err = c.do(ctx, room, l.line, at); err != nil {
			at.show("error: " + err.Error())
		}
	}
}

var errNoRoom = errors.New("you are in no room; /join one")

// do is one line that was typed in a room, which is empty if they are in none. It
// returns the room of the next.
func (c *chat) do(ctx context.Context, room, line string, at *console) (next string, err error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return room, nil
	}
	command := fmt.Sprintf("%s %d", words[0], len(words)-1)
	switch {
	case command == "/join 1":
		if err := c.join(ctx, words[1]); err != nil {
			return room, err
		}
		return words[1], nil
	case command == "/leave 1":
		return c.leaveFor(ctx, words[1], room)
	case command == "/help 0":
		at.show(help)
		return room, nil
	case strings.HasPrefix(words[0], "/") && command != "/leave 0" && command != "/who 0":
		return room, fmt.Errorf("%q isn't understood; %s", line, help)
	case room == "":
		return room, errNoRoom
	case command == "/leave 0":
		return c.leaveFor(ctx, room, room)
	case command == "/who 0":
		at.show(fmt.Sprintf("[%s] * in this room: %s", room, strings.Join(append([]string{"you"}, c.who(room)...), ", ")))
		return room, nil
	}
	if len(c.who(room)) == 0 {
		at.show(fmt.Sprintf("[%s] * nobody else is in this room", room))
	}
	return room, c.say(ctx, room, line)
}

// leaveFor leaves a room. It returns which is next for who was in the last one.
func (c *chat) leaveFor(ctx context.Context, room, last string) (next string, err error) {
	err = c.leave(ctx, room)
	rest := c.joined()
	if !slices.Contains(rest, last) {
		last = strings.Join(rest[:min(1, len(rest))], "")
	}
	return last, err
}
