package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

const (
	suffix     = ".node"
	tempSuffix = ".node.tmp"
	// maxEntry is more than a node and the end of its line can have.
	maxEntry = 1024
	// maxNames bounds the registry.
	maxNames = 10_000
	// maxRounds bounds how often a look tries the locks while entries come and
	// go. It takes a crowd that never rests to need more than a few.
	maxRounds = 20
	// tempOld is the age from which a file that was to be an entry is known to
	// have been left behind, if it isn't locked: it is locked when it is made.
	tempOld = time.Minute
)

// A registry is the folder of a cluster, as one Run uses it. An entry's name is
// used once, so that a file of that name is either that entry or it is gone.
type registry struct {
	path string
	self cluster.Node // empty: it isn't registered

	root   *os.Root          // nil: not open
	own    *entry            // nil: not registered
	others map[string]*entry // by name, opened for reading; own is among them once more
}

// An entry is a file of the registry, open.
type entry struct {
	name string
	file *os.File
	node cluster.Node
	err  error // what is wrong with its content
}

// inside is a path in the folder, for what watches that.
func (g *registry) inside() string { return filepath.Join(g.path, "any"+suffix) }

// look registers this node if it isn't, sweeps who has gone, and returns who is
// there, in order. The answer is a part if there is an error.
func (g *registry) look() ([]cluster.Node, error) {
	if err := g.open(); err != nil {
		return nil, err
	}
	registered := g.register()
	nodes, err := g.list()
	return nodes, errors.Join(registered, err)
}

// open opens the folder, or checks that it still is what it was.
func (g *registry) open() error {
	if g.root == nil {
		root, err := openFolder(g.path)
		if err != nil {
			return err
		}
		g.root, g.others = root, map[string]*entry{}
		return nil
	}
	err := check(g.path, g.root)
	if errors.Is(err, errReplaced) {
		g.close() // this look fails, by which time the others register again
	}
	return err
}

// register makes the entry of this node. It is written and locked under another
// name, so that nobody sees it before that.
func (g *registry) register() error {
	if g.self == "" {
		return nil
	}
	if g.own != nil {
		_, err := g.root.Lstat(g.own.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("local: registry %s: %w", g.path, err)
		}
		if err == nil {
			return nil
		}
		_ = g.own.file.Close() // somebody has removed it: it is of no use
		g.own = nil
	}
	id := rand.Text()
	e, err := g.publish(id+tempSuffix, id+suffix)
	if err != nil {
		return fmt.Errorf("local: registry %s: register %s: %w", g.path, g.self, withoutPath(err))
	}
	g.own = e
	return nil
}

// withoutPath leaves out the path of a file that has another name each time, so
// that the same failure reads the same.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("%s: %w", l.Op, l.Err)
	}
	return err
}

func (g *registry) publish(temp, name string) (*entry, error) {
	f, err := g.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if err == nil {
		_, err = f.WriteString(string(g.self) + "\n")
	}
	if err == nil {
		err = g.root.Rename(temp, name)
	}
	if err != nil {
		_ = g.root.Remove(temp) // by others, later, if not by us
		_ = f.Close()
		return nil, err
	}
	return &entry{name: name, file: f, node: g.self}, nil
}

// list returns the nodes of the entries that are locked, and sweeps the others.
func (g *registry) list() ([]cluster.Node, error) {
	names, err := g.names()
	if err != nil {
		return nil, err
	}
	return g.settle(names, maxRounds)
}

// settle tries the entries of these names, and again if there are others after
// that, which makes the answer a whole one: a node that registers anew before its
// old entry goes, as a restarted one does, is there all the time, but its entry
// may have no name yet when the names are read, and be gone when it is tried.
func (g *registry) settle(names []string, rounds int) (nodes []cluster.Node, err error) {
	for range rounds {
		if nodes, err = g.try(names); err != nil {
			return nodes, err
		}
		before := names
		if names, err = g.names(); err != nil {
			return nodes, err
		}
		if slices.Equal(published(before), published(names)) {
			return nodes, nil
		}
	}
	return nodes, fmt.Errorf("local: registry %s: its entries change faster than they can be read", g.path)
}

// published returns the names of what isn't still being made.
func published(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasSuffix(name, tempSuffix) })
}

// try returns the nodes of those entries that are locked, and sweeps the others
// of these names.
func (g *registry) try(names []string) (nodes []cluster.Node, err error) {
	for name, e := range g.others {
		if _, there := slices.BinarySearch(names, name); !there {
			_ = e.file.Close() // it was only read
			delete(g.others, name)
		}
	}
	var errs []error
	for _, name := range names {
		e, err := g.live(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("local: registry %s: %w", g.path, err))
		case e == nil:
		case e.err != nil:
			errs = append(errs, fmt.Errorf("local: registry %s: entry %s: %w", g.path, name, e.err))
		default:
			nodes = append(nodes, e.node)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), errors.Join(errs...)
}

// names returns the names of the entries, and of what was to be some, in order.
func (g *registry) names() ([]string, error) {
	names, err := g.read()
	if err != nil {
		return nil, fmt.Errorf("local: registry %s: %w", g.path, err)
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasSuffix(name, suffix) && !strings.HasSuffix(name, tempSuffix)
	}), nil
}

// read returns the names of all that is in the folder.
func (g *registry) read() ([]string, error) {
	dir, err := g.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // it was only read
	names, err := dir.Readdirnames(maxNames)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) == maxNames {
		return nil, fmt.Errorf("it has %d files or more; remove it", maxNames)
	}
	return names, nil
}

// live returns the entry if its process lives, nil if it is gone.
func (g *registry) live(name string) (*entry, error) {
	e := g.others[name]
	if e == nil {
		var err error
		if e, err = g.openEntry(name); e == nil {
			return nil, err
		}
		g.others[name] = e
	}
	free, err := tryLock(e.file)
	if err != nil {
		return nil, fmt.Errorf("try the lock of %s: %w", name, err)
	}
	if !free {
		if strings.HasSuffix(name, tempSuffix) { // it is being made
			return nil, g.forget(e)
		}
		return e, nil
	}
	// Whoever had locked it is gone, and nobody locks it again.
	err = g.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) { // somebody else was faster
		err = nil
	}
	return nil, errors.Join(err, g.forget(e))
}

func (g *registry) forget(e *entry) error {
	delete(g.others, e.name)
	return e.file.Close()
}

// openEntry returns nil if there is nothing to be seen in a file. What isn't one
// is nobody's entry, and is left alone: to open a pipe would wait for its writer,
// and a link may lead out of the folder.
func (g *registry) openEntry(name string) (*entry, error) {
	info, err := g.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // it is gone, which is no error
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil
	case strings.HasSuffix(name, tempSuffix) && time.Since(info.ModTime()) < tempOld:
		return nil, nil // it may not be locked yet
	}
	f, err := g.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &entry{name: name, file: f}
	text, err := io.ReadAll(io.LimitReader(f, maxEntry))
	if err == nil {
		e.node, err = transport.ParseNode(strings.TrimSuffix(string(text), "\n"))
	}
	e.err = err
	return e, nil
}

// close takes this node from the registry, under its lock, and closes the
// folder. Another look opens it again.
func (g *registry) close() {
	if g.root == nil {
		return
	}
	if g.own != nil {
		_ = g.root.Remove(g.own.name) // if it can't be, its lock is free, and others sweep it
		_ = g.own.file.Close()
	}
	for _, e := range g.others {
		_ = e.file.Close() // it was only read
	}
	_ = g.root.Close()
	g.root, g.own, g.others = nil, nil, nil
}
