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
	"github.com/libcluster-go/cluster/transport/mesh"
)

const help = "a line goes to the room; /join ROOM, /leave, /who, /quit"

// Settings are what one who chats is started with.
type settings struct {
	name  string
	rooms []string
	dir   string // where the chats of this machine find each other, and their secret
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
	err = c.converse(ctx, s.rooms[0], at)
	stop()
	err = errors.Join(err, sup.Wait(), m.Close())
	watching.Wait()
	return err
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
	at.show("you are in " + room + "; " + help)
	for {
		prompts <- room + "> "
		var l typed
		select {
		case l = <-lines:
		case <-ctx.Done():
			return nil
		}
		switch {
		case errors.Is(l.err, io.EOF), l.line == "/quit":
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

// do is one line that was typed in a room. It returns the room of the next.
func (c *chat) do(ctx context.Context, room, line string, at *console) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return room, nil
	}
	command := fmt.Sprintf("%s %d", words[0], len(words)-1)
	switch {
	case !strings.HasPrefix(line, "/"):
		if room == "" {
			return room, errors.New("you are in no room; /join one")
		}
		return room, c.say(ctx, room, line)
	case command == "/join 1":
		if err := c.join(ctx, words[1]); err != nil {
			return room, err
		}
		return words[1], nil
	case command == "/leave 0":
		err := c.leave(ctx, room)
		rest := c.joined()
		if !slices.Contains(rest, room) {
			room = strings.Join(rest[:min(1, len(rest))], "")
		}
		return room, err
	case command == "/who 0":
		at.show(fmt.Sprintf("[%s] * in this room: %s", room, strings.Join(append([]string{"you"}, c.who(room)...), ", ")))
		return room, nil
	}
	return room, fmt.Errorf("%q isn't a command; %s", line, help)
}
