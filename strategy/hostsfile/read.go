package hostsfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// maxSize bounds a file; it is some 60,000 hosts.
	maxSize = 1 << 20
	// settle and settleDoubtful are how long a file must have stayed the same to
	// be believed.
	settle         = 50 * time.Millisecond
	settleDoubtful = time.Second
	// old is the age from which one that was there before Run is believed at once.
	// It is more than the 2 s to which FAT rounds times.
	old = 3 * time.Second
	// patience is how long a file that keeps changing is waited for.
	patience = 2 * time.Second
)

// content is what was read of a file, and what the file was then.
type content struct {
	data  []byte
	info  fs.FileInfo
	whole bool // it didn't change while it was read
}

// read returns what the file holds once that has settled. first is that nobody
// has looked for it before. Its error says which file, and what is wrong with it.
func (f *follower) read(ctx context.Context, first bool) (content, error) {
	for began := time.Now(); ; first = false {
		c, err := f.once(f.path)
		if err != nil {
			f.seen = nil
			return content{}, fmt.Errorf("hostsfile: %w", err)
		}
		f.see(c)
		// How old a change is by the clock of the file system says nothing: that of a
		// server may be behind.
		if c.whole && (first && time.Since(c.info.ModTime()) >= old || settled(f.doubtful(c.data), time.Since(f.since))) {
			return c, nil
		}
		if time.Since(began) > patience {
			return content{}, fmt.Errorf("hostsfile: %s is still being written after %s; replace it by a rename", f.path, patience)
		}
		if !pause(ctx, settle) {
			return content{}, context.Cause(ctx)
		}
	}
}

// see notes since when the file has been as it is.
func (f *follower) see(c content) {
	switch {
	case !c.whole:
		f.seen = nil
	case f.seen == nil || !same(c.info, f.seen):
		f.seen, f.since = c.info, time.Now()
	}
}

// doubtful reports whether that looks like a file of which the rest is still to
// be written: it is empty, or its last line has no end, or it has lost hosts.
func (f *follower) doubtful(data []byte) bool {
	if !bytes.HasSuffix(data, []byte("\n")) {
		return true
	}
	nodes, _ := parse(data, f.port)
	return len(nodes) < f.hosts
}

// settled reports whether a file is to be believed that has been seen unchanged
// for some time.
func settled(doubtful bool, unchanged time.Duration) bool {
	if doubtful {
		return unchanged >= settleDoubtful
	}
	return unchanged >= settle
}

// readOnce reads a file as it is.
func readOnce(path string) (content, error) {
	if info, err := os.Stat(path); err != nil { // before Open, which would wait for a pipe's writer
		return content{}, err
	} else if !info.Mode().IsRegular() {
		return content{}, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is %s; want a file", kind(info.Mode()))}
	}
	f, err := os.Open(path)
	if err != nil {
		return content{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	before, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return content{}, err
	}
	if len(data) > maxSize {
		return content{}, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", maxSize)}
	}
	after, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	return content{data, after, same(before, after)}, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	default:
		return "no regular file (" + m.String() + ")"
	}
}

// same reports whether a file is the same and has not been written.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
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
