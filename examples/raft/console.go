package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

const help = "set KEY VALUE, get KEY, status, remove NAME; the end of the input leaves"

// serve is a node that does what its input says, until that ends or ctx is done.
func serve(ctx context.Context, s settings, in io.Reader, out io.Writer) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	n, err := open(ctx, s, say)
	if err != nil {
		return err
	}
	say("commands: %s", help)
	lines := make(chan string)
	go func() { // reads until the input ends, or the process does
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for ctx.Err() == nil {
		select {
		case line, ok := <-lines:
			if !ok {
				return n.close()
			}
			if err := n.do(ctx, strings.Fields(line)); err != nil {
				say("error: %v", err)
			}
		case <-ctx.Done():
		}
	}
	return n.close()
}

// do is one command.
func (n *node) do(ctx context.Context, words []string) error {
	command := ""
	if len(words) > 0 {
		command = fmt.Sprintf("%s %d", words[0], len(words)-1)
	}
	switch command {
	case "": // an empty line
	case "set 2": // each node tells when it has it
		ctx, cancel := context.WithTimeout(ctx, raftTimeout)
		defer cancel()
		return n.set(ctx, Entry{words[1], words[2]})
	case "get 1":
		value, ok := n.store.get(words[1])
		if !ok {
			return fmt.Errorf("%s isn't set", words[1])
		}
		n.say("%s = %s", words[1], value)
	case "status 0":
		return n.status()
	case "remove 1":
		return n.remove(words[1])
	default:
		return fmt.Errorf("%q: want %s", strings.Join(words, " "), help)
	}
	return nil
}

// status tells where this node stands.
func (n *node) status() error {
	voters, err := n.voters()
	if err != nil {
		return err
	}
	n.say("%s is %s in term %d, with %d entries; the leader is %q", n.mesh.Self(), n.raft.State(), n.raft.CurrentTerm(), n.raft.AppliedIndex(), n.leader())
	n.say("voters: %s", strings.Join(voters, " "))
	for _, p := range n.peers() {
		n.say("linked with %s", p)
	}
	return nil
}
