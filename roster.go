package cluster

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// A Roster takes what a strategy finds. It keeps complete answers ([Roster.Replace])
// apart from hints ([Roster.Add]), and failure apart from emptiness. It is safe
// for concurrent use and never blocks. It belongs to one Run and does nothing
// after that has returned; what it was told stays.
//
// Nodes are put into canonical form and deduplicated, and this node is left out.
// By another name than its own it counts as any other until Connect tells that it
// is this one. A node that can't be parsed is a failure, which is reported as such.
type Roster struct {
	self    Node
	log     *slog.Logger
	take    func(Change) (after func())
	confirm func() time.Duration // see ConfirmWithin

	mu     sync.Mutex
	closed bool
}

// A ChangeKind is one of the calls of a [Roster].
type ChangeKind int

// The kinds of a [Change].
const (
	Replaced ChangeKind = iota + 1
	Added
	Removed
	Failed
)

func (k ChangeKind) String() string {
	switch k {
	case Replaced:
		return "Replace"
	case Added:
		return "Add"
	case Removed:
		return "Remove"
	case Failed:
		return "Fail"
	default:
		return "unknown"
	}
}

// A Change is what one call of a [Roster] says, with canonical nodes.
type Change struct {
	Kind ChangeKind
	// Nodes are those of Replaced, Added and Removed: sorted, each once,
	// without this node.
	Nodes []Node
	// Keep are those that Replaced says to keep and that aren't in Nodes.
	Keep []Node
	// Err is that of Failed.
	Err error
}

// nobody reports whether it is an answer that holds nobody but this node, by its
// own address: what names stand for, only a transport tells.
func (c Change) nobody() bool { return c.Kind == Replaced && len(c.Nodes)+len(c.Keep) == 0 }

// NewRoster returns a roster that passes every change on: for tests of
// strategies, and for strategies that wrap others. self may be empty; a nil
// logger discards. changed is called on the goroutine of the strategy that calls
// the roster. ConfirmWithin is that of the default remove grace after every answer
// of nobody.
func NewRoster(self Node, logger *slog.Logger, changed func(Change)) *Roster {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	var nobody atomic.Bool
	return &Roster{
		self: self, log: logger,
		take: func(c Change) func() {
			nobody.Store(c.nobody())
			return func() { changed(c) }
		},
		confirm: func() time.Duration {
			if nobody.Load() {
				return confirmWithin(defaultRemoveGrace)
			}
			return 0
		},
	}
}

// Replace says that nodes are the source's whole, authoritative answer, of which
// none may be left out. New ones are connected. Missing ones linger: they are
// not dialled any more, and are disconnected once they have been missing for
// the remove grace. keep are known to the source, but to be neither dialled nor
// cut: terminating or not ready, say.
func (r *Roster) Replace(nodes []Node, keep ...Node) {
	all, bad := r.clean(nodes)
	kept, badKeep := r.clean(keep)
	if err := errors.Join(bad, badKeep); err != nil { // it isn't the whole answer
		if len(all) > 0 {
			r.change(Change{Kind: Added, Nodes: all})
		}
		r.change(Change{Kind: Failed, Err: err})
		return
	}
	kept = slices.DeleteFunc(kept, func(n Node) bool {
		_, wanted := slices.BinarySearch(all, n) // which is sorted
		return wanted
	})
	r.change(Change{Kind: Replaced, Nodes: all, Keep: kept})
}

// Add says that the source has heard of nodes, of which there may be more: they
// are connected, and nothing is removed. Without nodes it says that the source
// answered well and knew of none.
func (r *Roster) Add(nodes ...Node) {
	good, bad := r.clean(nodes)
	if len(good) > 0 || bad == nil {
		r.change(Change{Kind: Added, Nodes: good})
	}
	if bad != nil {
		r.change(Change{Kind: Failed, Err: bad})
	}
}

// Remove says that the source knows for certain that nodes are gone: they are
// disconnected at once, unless another topology of the transport wants them.
func (r *Roster) Remove(nodes ...Node) {
	good, bad := r.clean(nodes)
	if len(good) > 0 {
		r.change(Change{Kind: Removed, Nodes: good})
	}
	if bad != nil {
		r.change(Change{Kind: Failed, Err: bad})
	}
}

// Fail says that the source could not be asked. It changes no connection: the
// last good answer stays, and what lingers does so without a clock until the
// next one. A nil error is ignored.
func (r *Roster) Fail(err error) {
	if err != nil {
		r.change(Change{Kind: Failed, Err: err})
	}
}

// Self returns this node; empty if the transport doesn't know it.
func (r *Roster) Self() Node { return r.self }

// Logger returns the logger that WithLogger was given, with the topology's name.
func (r *Roster) Logger() *slog.Logger { return r.log }

// Close ends the roster, which does nothing from then on. The supervisor calls
// it once Run has returned; a strategy doesn't.
func (r *Roster) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

func (r *Roster) change(c Change) {
	if after := r.changeLocked(c); after != nil {
		after()
	}
}

func (r *Roster) changeLocked(c Change) (after func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	return r.take(c)
}

// ConfirmWithin is for strategies that ask their source again and again. It is
// positive while nodes will be given up for the latest answer, if that is one of
// nobody (but this node) as far as is known: a name that it lists may be this
// node's own until another node has been found behind it. It is zero otherwise.
// Such an answer may be a mistake: a strategy then waits at most this long before
// it asks again. It is a fifth of the remove grace: 6 seconds by default.
//
// Who calls it promises to ask again, and to tell what becomes of that: for the
// rest of Run, nodes are given up for such an answer only once [Roster.Replace] has
// been called twice more, however long the source takes. A strategy that runs
// another with a roster of [NewRoster] calls it for that one.
func (r *Roster) ConfirmWithin() time.Duration { return r.confirm() }

// confirmWithin leaves time in the grace for two pauses, and for two questions that
// take no longer than those.
func confirmWithin(grace time.Duration) time.Duration { return grace / 5 }

// clean returns the nodes in canonical form, sorted, each once, without this
// one, and an error for those that can't be parsed.
func (r *Roster) clean(nodes []Node) ([]Node, error) {
	var errs []error
	clean := make([]Node, 0, len(nodes))
	for _, n := range nodes {
		c, err := transport.ParseNode(string(n))
		switch {
		case err != nil:
			errs = append(errs, err)
		case r.self != "" && c.Addr() == r.self.Addr():
		default:
			clean = append(clean, c)
		}
	}
	slices.Sort(clean)
	return slices.Compact(clean), errors.Join(errs...)
}
