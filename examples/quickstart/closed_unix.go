//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// isClosed reports whether a standard stream was closed when the program began. Go
// opens the null device in its place, for reading and writing, so no write ever
// fails; who wants to see nothing opens that for writing alone, as a shell does.
func isClosed(stream *os.File) bool {
	flags, err := unix.FcntlInt(stream.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return true
	}
	is, err := stream.Stat()
	null, nullErr := os.Stat(os.DevNull)
	return err == nil && nullErr == nil && os.SameFile(is, null) && flags&unix.O_ACCMODE == unix.O_RDWR
}
