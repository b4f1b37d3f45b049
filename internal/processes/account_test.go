package processes_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/libcluster-go/cluster/transport"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// A voice is who says what.
type voice struct {
	id      uint64
	subject string
}

// A tally is what was heard of a voice.
type tally struct {
	latest uint64 // its number
	all    int
}

// An ear is who is told what.
type ear struct {
	node    transport.Node
	subject string
}

// count notes that those of some nodes for which nothing failed have to hear it.
func (t *talker) count(subject string, failed map[transport.Node]error, nodes []transport.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range nodes {
		if failed[n] == nil && failed[""] == nil && slices.Contains(t.steady, n) {
			t.told[ear{n, subject}]++
		}
	}
}

// byNode takes apart what Broadcast returns. What it says of no node is of "".
func byNode(err error) map[transport.Node]error {
	failed := map[transport.Node]error{}
	all := []error{err}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if of, ok := errors.AsType[*mesh.NodeError](err); ok {
			failed[of.Node] = err
		} else if err != nil {
			failed[""] = err
		}
	}
	return failed
}

// excused reports whether what is said to a node may fail like that. With one that
// is steady nothing does, but for a stream whose handshake a change of the secrets
// has overtaken. Others may part, leave or be killed at any time, and may have other
// secrets just then.
func (t *talker) excused(n transport.Node, err error, rotated bool) bool {
	if slices.Contains(t.steady, n) {
		return rotated && errors.Is(err, mesh.ErrProof)
	}
	if refusal, ok := errors.AsType[*mesh.RefusedError](err); ok {
		return slices.Contains([]mesh.Code{mesh.CodeNoLink, mesh.CodeNoService, mesh.CodeOtherInstance, mesh.CodeLeft, mesh.CodeUnwanted}, refusal.Code)
	}
	_, network := errors.AsType[*net.OpError](err) // of a stream
	gone := []error{
		mesh.ErrNoNode, mesh.ErrDown, mesh.ErrClosed, mesh.ErrProof, mesh.ErrHungUp,
		io.ErrUnexpectedEOF, io.EOF, // a service ends with the streams that wait to be accepted
	}
	return network || slices.ContainsFunc(gone, func(target error) bool { return errors.Is(err, target) })
}

// unheard is how many messages this one has told another that it hasn't heard.
func (t *talker) unheard(o *talker) (n int) {
	t.mu.Lock()
	due := maps.Clone(t.told)
	t.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for to, told := range due {
		if to.node == o.m.Self() {
			n += max(0, told-o.heard[voice{t.id, to.subject}].all)
		}
	}
	return n
}

// due is how many messages of this one have to be heard.
func (t *talker) due() (n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, told := range t.told {
		n += int64(told)
	}
	return n
}

// forget keeps of what was heard that of some alone: others don't come back.
func (t *talker) forget(but map[uint64]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for v := range t.heard {
		if !but[v.id] {
			delete(t.heard, v)
		}
	}
}

// TestWhatATalkerBlames: words that came to harm, twice or out of order.
func TestWhatATalkerBlames(t *testing.T) {
	var ann, bob talker
	ann.id, bob.id = 1, 2
	one, two, large := ann.words(smallData), ann.words(smallData), ann.words(largeData)
	harmed, torn := bytes.Clone(large), bytes.Clone(one)
	harmed[largeData-1]++
	torn[wordsHead+1]++
	type said struct {
		subject string
		words   []byte
	}
	tests := []struct {
		name string
		said []said
		bad  bool // the last of them
	}{
		{"in order", []said{{"small", one}, {"small", two}, {"small", large}}, false},
		{"with one missing", []said{{"small", one}, {"small", large}}, false},
		{"in order by subject", []said{{"small", two}, {"large", one}}, false},
		{"in order by speaker", []said{{"small", two}, {"small", bob.words(smallData)}}, false},
		{"twice", []said{{"small", one}, {"small", one}}, true},
		{"out of order", []said{{"small", two}, {"small", one}}, true},
		{"harmed at the end", []said{{"small", harmed}}, true},
		{"harmed at the beginning", []said{{"small", torn}}, true},
		{"too short", []said{{"small", one[:wordsHead-1]}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listener := talker{heard: map[voice]tally{}}
			var err error
			for _, s := range tt.said {
				if err != nil {
					t.Fatal(err)
				}
				err = listener.hear(s.subject, s.words)
			}
			if (err != nil) != tt.bad {
				t.Errorf("%v; want an error: %t", err, tt.bad)
			}
		})
	}
}

// TestWhatATalkerExcuses: nothing, of those that stay.
func TestWhatATalkerExcuses(t *testing.T) {
	const steady, other = transport.Node("127.0.0.1:1"), transport.Node("127.0.0.1:2")
	of := func(n transport.Node, err error) error { return &mesh.NodeError{Op: "dial", Node: n, Err: err} }
	tests := []struct {
		name    string
		err     error
		rotated bool
		steady  bool // whether it is excused of one that is steady
		other   bool // and of another
	}{
		{"no link", mesh.ErrNoNode, false, false, true},
		{"down", mesh.ErrDown, false, false, true},
		{"no handler", mesh.ErrNoHandler, true, false, false},
		{"overloaded", mesh.ErrOverloaded, true, false, false},
		{"queue full", mesh.ErrQueueFull, true, false, false},
		{"panicked", mesh.ErrPanicked, true, false, false},
		{"a proof", mesh.ErrProof, false, false, true},
		{"a proof while the secrets change", mesh.ErrProof, true, true, true},
		{"another instance", &mesh.RefusedError{Code: mesh.CodeOtherInstance}, true, false, true},
		{"full", &mesh.RefusedError{Code: mesh.CodeFull}, true, false, false},
		{"the network", &net.OpError{Op: "read", Err: io.ErrClosedPipe}, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			talker := talker{steady: []transport.Node{steady}}
			if got := talker.excused(steady, of(steady, tt.err), tt.rotated); got != tt.steady {
				t.Errorf("of one that is steady: %t; want %t", got, tt.steady)
			}
			if got := talker.excused(other, of(other, tt.err), tt.rotated); got != tt.other {
				t.Errorf("of another: %t; want %t", got, tt.other)
			}
		})
	}
}

// TestWhatATalkerCounts: what a broadcast fails for is named, and not due.
func TestWhatATalkerCounts(t *testing.T) {
	const ann, bob, visitor = transport.Node("127.0.0.1:1"), transport.Node("127.0.0.1:2"), transport.Node("127.0.0.1:3")
	fail := func(n transport.Node) error { return &mesh.NodeError{Op: "send", Node: n, Err: mesh.ErrDown} }
	tests := []struct {
		name string
		err  error
		due  int64
	}{
		{"to all", nil, 2},
		{"not to a visitor", errors.Join(fail(visitor)), 2},
		{"to none but one", errors.Join(fail(ann), fail(visitor)), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			talker := talker{told: map[ear]int{}, steady: []transport.Node{ann, bob}}
			talker.count(castSubject, byNode(tt.err), talker.steady)
			if got := talker.due(); got != tt.due {
				t.Errorf("%d are due; want %d", got, tt.due)
			}
		})
	}
}
