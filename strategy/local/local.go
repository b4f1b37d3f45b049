// Package local discovers the processes of a cluster on one machine: zero
// configuration for development and tests.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: local.Strategy{},
//	}
//
// # The registry
//
// A folder is the registry: one for each user and cluster, or with
// [Strategy.Dir] for each cluster in that. It has one file for each Run, which
// holds the node as the transport names it and is locked by the process. The
// operating system frees the lock when that ends, be it by a crash or SIGKILL, and
// whoever sees a free lock sweeps the file. If nobody is there to see it, the next
// to come does. What isn't a regular file is ignored. A transport that doesn't know
// its own node discovers others without being found.
//
// A node that registers is found at once, since the folder is watched. That a
// lock is free is not notified, so that the locks are tried, every
// [Strategy.Interval].
//
// The folder must belong to the user, with nothing allowed to others (mode
// 0700): it is refused otherwise, and if it is a symbolic link. On Windows, where
// neither is checked, it is in the user's own folder for temporary files unless
// [Strategy.Dir] says otherwise. It must be on a local disk.
//
// # What counts
//
// All that is registered is the whole answer, so that a process that has gone
// lingers (cluster.WithRemoveGrace): it is not dialled any more, and what its
// connection has left is disconnected in the end. It is not removed at once,
// though its lock leaves no doubt, because it may have been started again under
// the same address meanwhile, and could be linked already. Nothing is lost by
// that: between processes of one machine the kernel closes the connection.
//
// If the node can't be registered (the disk is full, say), that is a failure,
// which is tried again at every interval, while the others are found as hints.
// So it is if the folder is removed: all make it again and register again. Where
// entries come and go while they are looked at, they are looked at again, so that
// a node that is restarted, and registers before its predecessor leaves, isn't
// missing; if they go on with that, it is a failure, too.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once, of the same
// node or of several in one process.
package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/internal/pathwatch"
)

const (
	defaultInterval = 250 * time.Millisecond
	// confirm is how often an answer is told again: several times in the remove
	// grace, as is due for one of nobody.
	confirm = 5 * time.Second
	// spacing is the least time between two looks, for many that come at once.
	spacing = 10 * time.Millisecond
	// maxCluster bounds the name, of which three bytes may stand for one in that
	// of a folder.
	maxCluster = 64
)

// Strategy discovers the processes of this user and machine that run one with
// the same Cluster and Dir. Its zero value works.
type Strategy struct {
	// Cluster tells clusters apart; at most 64 bytes. Empty means "default".
	Cluster string

	// Dir is the folder that the registry is made in, from the working directory
	// if it isn't absolute; it is made if it is absent. Empty means
	// $XDG_RUNTIME_DIR if that is a folder of this user, else that for temporary
	// files ($TMPDIR, /tmp). Processes that don't have the same environment, such
	// as one of a terminal and one of cron, need the same Dir.
	//
	// A Dir is for one user: of two users who share it with the same Cluster, the
	// second is refused the registry of the first. On Windows, where Run checks
	// neither whose it is nor who has access, it must be a folder in which no other
	// user may write, which C:\Temp, say, isn't.
	Dir string

	// Interval is how often the locks are tried, and so how long a process that
	// has gone may go unnoticed. Zero means 250 ms, which costs each of 10
	// processes some 0.02 % of a core, and each of 100 some 0.08 %; negative is
	// refused.
	Interval time.Duration
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, and what would be right. It doesn't look at Dir.
func (s Strategy) Validate() error {
	var errs []error
	if len(s.Cluster) > maxCluster {
		errs = append(errs, fmt.Errorf("local: Cluster is %q, of %d bytes; want at most %d", s.Cluster, len(s.Cluster), maxCluster))
	}
	if s.Interval < 0 {
		errs = append(errs, fmt.Errorf("local: Interval is %s; want more than zero, or 0 for %s", s.Interval, defaultInterval))
	}
	return errors.Join(errs...)
}

// Run implements [cluster.Strategy]: it registers this node and tells who else
// is registered, at once and at every change, until ctx is done, when it takes
// this node from the registry. Its error is that of Validate, or that of a
// working directory that can't be found out.
func (s Strategy) Run(ctx context.Context, r *cluster.Roster) error {
	if err := s.Validate(); err != nil {
		return err
	}
	path, err := s.folder()
	if err != nil {
		return err
	}
	g := &registry{path: path, self: r.Self()}
	defer g.close()
	w := pathwatch.New()
	defer w.Close()
	tick := time.NewTicker(s.interval())
	defer tick.Stop()
	t := teller{roster: r}
	for ctx.Err() == nil {
		_ = w.Aim(g.inside()) // what isn't notified is found by the next tick
		nodes, err := g.look()
		t.tell(time.Now(), nodes, err)
		if !pause(ctx, spacing) {
			return nil
		}
		select {
		case <-w.Changed():
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (s Strategy) interval() time.Duration {
	if s.Interval == 0 {
		return defaultInterval
	}
	return s.Interval
}

// A teller tells a roster what is new, and now and then what isn't.
type teller struct {
	roster *cluster.Roster
	nodes  []cluster.Node // what was told last
	failed string
	at     time.Time // when; zero: nothing yet
}

func (t *teller) tell(now time.Time, nodes []cluster.Node, err error) {
	failed := ""
	if err != nil {
		failed = err.Error()
	}
	if !t.at.IsZero() && now.Sub(t.at) < confirm && failed == t.failed && slices.Equal(nodes, t.nodes) {
		return
	}
	t.nodes, t.failed, t.at = nodes, failed, now
	if err == nil {
		t.roster.Replace(nodes)
		return
	}
	if len(nodes) > 0 { // a part is not the whole answer
		t.roster.Add(nodes...)
	}
	t.roster.Fail(err)
}

// pause waits for d, and reports false if ctx is done before that.
func pause(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}
