//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package local

import (
	"errors"
	"os"
	"syscall"
)

// lock locks f against everybody, other files of this process included: the
// lock of flock(2) belongs to the open file, which fcntl's doesn't. It is freed
// when f is closed, also by the end of the process.
func lock(f *os.File) error {
	return flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
}

// tryLock reports whether nobody has locked f by lock; f is locked then, which
// doesn't keep others from finding the same.
func tryLock(f *os.File) (free bool, err error) {
	err = flock(f, syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
