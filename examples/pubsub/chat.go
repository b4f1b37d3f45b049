package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

const (
	// sendWithin is how long a node that doesn't take messages may hold up who
	// types.
	sendWithin = time.Second

	maxRoom = 64 // bytes of a room's name
)

// A note is what members of a room tell each other.
type note struct {
	Kind string `json:"kind"`
	Text string `json:"text,omitempty"`
}

const (
	kindHere = "here" // the sender is in the room
	kindLeft = "left" // and isn't any more
	kindSay  = "say"
)

// A chat is what one person sees and says in some rooms, each of which is a topic.
type chat struct {
	mesh   *mesh.Mesh
	topics topics
	show   func(line string) // called from any goroutine

	mu    sync.Mutex
	rooms map[string]map[cluster.Node]bool // those joined, and who else is there
}

func newChat(m *mesh.Mesh, show func(line string)) *chat {
	return &chat{mesh: m, topics: topics{m}, show: show, rooms: map[string]map[cluster.Node]bool{}}
}

func checkRoom(room string) error {
	if room == "" || len(room) > maxRoom || strings.ContainsFunc(room, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' || r == ']' }) {
		return fmt.Errorf("the room %.70q: want a name of 1 to %d bytes, without spaces and ]", room, maxRoom)
	}
	return nil
}

// join enters a room, and says so to whom is there.
func (c *chat) join(ctx context.Context, room string) error {
	if err := checkRoom(room); err != nil {
		return err
	}
	c.mu.Lock()
	_, joined := c.rooms[room]
	if !joined {
		c.rooms[room] = map[cluster.Node]bool{}
	}
	c.mu.Unlock()
	if joined {
		return nil
	}
	hear := func(ctx context.Context, from cluster.Node, data []byte) { c.hear(ctx, room, from, data) }
	if err := c.topics.subscribe(room, hear); err != nil {
		return err
	}
	return c.tell(ctx, room, note{Kind: kindHere})
}

// leave leaves a room. What comes afterwards isn't shown, even if it is on the way.
func (c *chat) leave(ctx context.Context, room string) error {
	c.mu.Lock()
	_, joined := c.rooms[room]
	delete(c.rooms, room)
	c.mu.Unlock()
	if !joined {
		return fmt.Errorf("you aren't in the room %.70q", room)
	}
	if err := c.topics.unsubscribe(room); err != nil {
		return err
	}
	return c.tell(ctx, room, note{Kind: kindLeft})
}

// say says something to a room.
func (c *chat) say(ctx context.Context, room, text string) error {
	return c.tell(ctx, room, note{Kind: kindSay, Text: text})
}

func (c *chat) tell(ctx context.Context, room string, what note) error {
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	return c.topics.publish(ctx, room, data)
}

// tellHere tells one node that this one is in a room. If that is gone again, there
// is nobody to tell.
func (c *chat) tellHere(ctx context.Context, n cluster.Node, room string) {
	data, _ := json.Marshal(note{Kind: kindHere}) // strings can be encoded
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	_ = c.topics.publishTo(ctx, n, room, data)
}

// hear takes what a node has told a room. The mesh calls it, for several nodes at
// once.
func (c *chat) hear(ctx context.Context, room string, from cluster.Node, data []byte) {
	var what note
	if json.Unmarshal(data, &what) != nil {
		return // another program, or a newer one
	}
	c.mu.Lock()
	members, joined := c.rooms[room]
	known := members[from]
	switch {
	case !joined:
	case what.Kind == kindHere && len(c.mesh.Canonical(from)) > 0: // else it is lost already, which was told
		members[from] = true
	case what.Kind == kindLeft:
		delete(members, from)
	}
	now := members[from]
	c.mu.Unlock()
	switch {
	case !joined:
	case now && !known:
		c.show(fmt.Sprintf("[%s] * %s is here", room, c.called(from)))
		c.tellHere(ctx, from, room) // it may have come later than this node
	case known && !now:
		c.show(fmt.Sprintf("[%s] * %s has left", room, c.called(from)))
	case what.Kind == kindSay:
		c.show(fmt.Sprintf("[%s] %s: %s", room, c.called(from), printable(what.Text)))
	}
}

// watch follows who comes and goes, until ctx is done or the mesh is closed.
func (c *chat) watch(ctx context.Context) {
	known := map[string]cluster.Node{} // by instance: a node that was started again has to be told again
	for range c.mesh.Events(ctx) {
		now := map[string]cluster.Node{}
		for _, p := range c.mesh.Peers() {
			now[p.Instance] = p.Node
		}
		for instance, n := range known {
			if _, ok := now[instance]; !ok {
				c.lose(n)
			}
		}
		for instance, n := range now {
			if _, ok := known[instance]; !ok {
				c.greet(ctx, n)
			}
		}
		known = now
	}
}

// greet tells a node that has come where this one is.
func (c *chat) greet(ctx context.Context, n cluster.Node) {
	for _, room := range c.joined() {
		c.tellHere(ctx, n, room)
	}
}

// lose takes a node out of all rooms.
func (c *chat) lose(n cluster.Node) {
	var from []string
	c.mu.Lock()
	for room, members := range c.rooms {
		if members[n] && len(c.mesh.Canonical(n)) == 0 { // else it is back already
			delete(members, n)
			from = append(from, room)
		}
	}
	c.mu.Unlock()
	slices.Sort(from)
	for _, room := range from {
		c.show(fmt.Sprintf("[%s] * %s is gone", room, c.called(n)))
	}
}

// joined are the rooms that this node is in.
func (c *chat) joined() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.rooms))
}

// who are the others in a room.
func (c *chat) who(room string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for n := range c.rooms[room] {
		names = append(names, c.called(n))
	}
	slices.Sort(names)
	return names
}

// called is the name that a person has chosen, and their address with it if
// somebody else has chosen the same.
func (c *chat) called(n cluster.Node) string {
	same := func(o cluster.Node) bool { return o != n && o.Name() == n.Name() }
	if n.Name() == "" || same(c.mesh.Self()) || slices.ContainsFunc(c.mesh.Peers(), func(p mesh.Peer) bool { return same(p.Node) }) {
		return string(n)
	}
	return n.Name()
}

// printable takes out what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}
