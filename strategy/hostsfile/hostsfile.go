// Package hostsfile discovers the nodes of a file, and follows its changes.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: hostsfile.Strategy{Path: "/etc/cluster/hosts", Port: 4370},
//	}
//
// # The file
//
//	# The first three. This node may be among them.
//	10.0.0.1            # the default port, which is Strategy.Port
//	web-2.internal:4371
//	web@[2001:db8::3]:4370
//	'web-4.internal'.   % as in Erlang's .hosts.erlang
//
// A line is one host, as "host", "host:port" or either after "name@", or blank.
// A # and what follows it is a comment. A line of Erlang's .hosts.erlang is a
// host in quotes with a dot after it, and may have a comment that begins with a
// %, as may a line; Erlang takes several on a line, which is a bad line here. The
// file is UTF-8 of at most 1 MiB; its lines end in LF or CRLF, and the last one
// may end with the file.
//
// # What counts
//
// The hosts of a file without a bad line are the whole answer, even if there are
// none. A bad line is a failure that names the file, the line and its text,
// while the good ones count as hints: their nodes are connected, and none is
// given up. A file that is gone, can't be read, is too large, isn't text or is a
// folder is a failure, too, and changes nothing.
//
// # Replacing it
//
// Write a file beside it and rename that onto it, as most editors do and
// Kubernetes does with a ConfigMap: readers then see the old one or the new one.
// A file that is written in place can be seen half-written. It is therefore not
// believed before it has stayed the same for 50 ms, nor before a second if it
// looks unfinished: if it is empty, which is how such a write begins, or has
// fewer hosts than before, or if its last line has no end. This is by the clock of
// this machine, whatever that of a file server says; only what is there when Run
// begins is believed at once if it is 3 seconds old by that. A file that has
// changed for 2 seconds is a failure. A writer that pauses for longer goes
// unnoticed until its next write: its missing nodes linger
// (cluster.WithRemoveGrace) for that time, but a last line without its end may be
// taken for another node.
//
// Changes are notified by the operating system. Where it doesn't (on NFS, say),
// they are found within Strategy.Interval.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once.
package hostsfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/pathwatch"
)

const (
	// defaultInterval asks an empty file again several times in the remove grace.
	defaultInterval = 5 * time.Second
	// spacing is the least time between two looks at a file. It is all that the
	// changes of other files in a busy folder cost.
	spacing = 20 * time.Millisecond
)

// Strategy discovers the nodes of a file. Its zero value looks for the file, in
// which each host must have a port then.
type Strategy struct {
	// Path is the file, from the working directory if it isn't absolute. Empty
	// means the first that exists of
	//
	//  1. .hosts in the working directory,
	//  2. .hosts in the home directory,
	//  3. /etc/cluster/hosts, except on Windows.
	//
	// One that may not be looked for, as in a home directory of another user, is
	// passed over. They are looked for until one exists; that one is read from then
	// on, even if another appears or it is gone, until Run is called again.
	Path string

	// Port is that of the hosts without one. Zero means that each must have its
	// own.
	Port int

	// Interval is how often the file is read without a notification. Zero means
	// 5 s; negative is refused.
	Interval time.Duration
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, and what would be right. The file need not exist.
func (s Strategy) Validate() error {
	var errs []error
	if s.Port < 0 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("hostsfile: Port is %d; want 1 to 65535, or 0 if each host has its own", s.Port))
	}
	if s.Interval < 0 {
		errs = append(errs, fmt.Errorf("hostsfile: Interval is %s; want more than zero, or 0 for %s", s.Interval, defaultInterval))
	}
	return errors.Join(errs...)
}

// Run implements [cluster.Strategy]: an answer at once, at every change and at
// every Interval, until ctx is done. Its error is that of Validate, or that of a
// working directory that can't be found out.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	return s.run(ctx, r, readOnce)
}

func (s Strategy) run(ctx context.Context, r *cluster.Roster, once func(path string) (content, error)) error {
	if err := s.Validate(); err != nil {
		return err
	}
	places, err := s.places()
	if err != nil {
		return err
	}
	w := pathwatch.New()
	defer w.Close()
	f := follower{port: s.Port, places: places, watcher: w, roster: r, once: once}
	f.follow(ctx, s.interval())
	return nil
}

func (s Strategy) interval() time.Duration {
	if s.Interval == 0 {
		return defaultInterval
	}
	return s.Interval
}

// places are the absolute paths of which the first that exists is the file.
func (s Strategy) places() ([]string, error) {
	if s.Path != "" {
		path, err := filepath.Abs(s.Path)
		if err != nil {
			return nil, fmt.Errorf("hostsfile: Path is %q: %w", s.Path, err)
		}
		return []string{path}, nil
	}
	return search(os.Getwd, os.UserHomeDir)
}

// A follower reads the file again and again.
type follower struct {
	port    int
	places  []string
	watcher *pathwatch.Watcher
	roster  *cluster.Roster
	once    func(path string) (content, error) // reads a file as it is

	path   string      // that of the file; empty until one has been found
	looked bool        // for the file, be it there or not
	seen   fs.FileInfo // the file as it was read last; nil if it couldn't be, or changed meanwhile
	since  time.Time   // when seen was first seen, by our clock
	told   fs.FileInfo // the file of the last good answer; nil after a failure
	hosts  int         // in the last good answer
	deaf   bool        // that there are no notifications has been logged
}

func (f *follower) follow(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for notified := false; ; {
		f.aim()
		if !notified || !f.unchanged() {
			f.look(ctx)
		}
		if !pause(ctx, spacing) {
			return
		}
		select {
		case <-f.watcher.Changed():
			notified = true
		case <-tick.C:
			notified = false
		case <-ctx.Done():
			return
		}
	}
}

// aim has the file's changes notified, or where none exists, those of all
// places.
func (f *follower) aim() {
	paths := f.places
	if f.path != "" {
		paths = []string{f.path}
	}
	err := f.watcher.Aim(paths...)
	if f.path == "" {
		return // it may be a place without the file that can't be watched
	}
	if err != nil && !f.deaf {
		f.roster.Logger().Warn("the hosts file's changes are found by polling only", "error", err)
	}
	f.deaf = err != nil
}

// unchanged reports whether a notification was about another file of the folder.
func (f *follower) unchanged() bool {
	if f.told == nil {
		return false
	}
	info, err := os.Stat(f.path)
	return err == nil && same(info, f.told) && info.Mode() == f.told.Mode()
}

// look reads the file and tells what it says.
func (f *follower) look(ctx context.Context) {
	nodes, info, err := f.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		f.hosts = len(nodes)
		f.roster.Replace(nodes)
	default: // a part is not the whole answer
		if len(nodes) > 0 {
			f.roster.Add(nodes...)
		}
		f.roster.Fail(err)
		info = nil
	}
	f.told = info
}

func (f *follower) ask(ctx context.Context) ([]cluster.Node, fs.FileInfo, error) {
	first := !f.looked
	f.looked = true
	if f.path == "" {
		path, err := find(f.places, os.Stat)
		if err != nil {
			return nil, nil, err
		}
		f.path = path
	}
	c, err := f.read(ctx, first)
	if errors.Is(err, fs.ErrNotExist) && f.told != nil && pause(ctx, settle) {
		c, err = f.read(ctx, false) // some editors rename it away before they write a new one
	}
	if err != nil {
		return nil, nil, err
	}
	nodes, bad := parse(c.data, f.port)
	return nodes, c.info, bad.in(f.path)
}
