package local

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lock locks f against everybody, other handles of this process included. It is
// freed when f is closed, also by the end of the process.
func lock(f *os.File) error {
	return lockByte(f, windows.LOCKFILE_EXCLUSIVE_LOCK)
}

// tryLock reports whether nobody has locked f by lock; f is locked then, which
// doesn't keep others from finding the same.
func tryLock(f *os.File) (free bool, err error) {
	err = lockByte(f, 0)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// lockByte locks one byte far behind the content, since nobody else could read
// what is locked.
func lockByte(f *os.File, flags uint32) error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	return os.NewSyscallError("LockFileEx", err)
}
