package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// strayAfter is how long a node may be linked with nobody before that is told: in
// less, it is seen that it has ended.
const strayAfter = time.Second

// stayUp returns when ctx is done. What is killed meanwhile is started again.
func (d *demo) stayUp(ctx context.Context) error {
	if !d.screen.live {
		for _, p := range d.nodes {
			d.screen.log(arrow, "%-7s  %s  pid %d", p.name, p.node, p.pid())
		}
	}
	d.screen.log(arrow, "running until Ctrl-C; kill or stop any of the processes and see")
	for {
		err := d.watch(ctx, 0, func() bool { d.tellStrays(); return false })
		for ended := (*endedError)(nil); errors.As(err, &ended); {
			d.screen.log(cross, "%s", ended)
			err = d.again(ctx, slices.Index(d.nodes, ended.by))
		}
		if err != nil {
			return err
		}
	}
}

// tellStrays tells of nodes that go on, but that no other node is linked with any
// more, as one that was stopped by SIGSTOP, and of those that are back.
func (d *demo) tellStrays() {
	for _, p := range d.nodes {
		switch {
		case p.ended || !d.unseen(p):
			if p.strayTold {
				d.screen.log(check, "%s is linked again", p.name)
			}
			p.stray, p.strayTold = time.Time{}, false
		case p.stray.IsZero():
			p.stray = time.Now()
		case !p.strayTold && time.Since(p.stray) >= strayAfter:
			p.strayTold = true
			d.screen.log(cross, "%s (pid %d) has not ended, but no other node is linked with it", p.name, p.pid())
		}
	}
}
