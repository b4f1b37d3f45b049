//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package local

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func lock(*os.File) error {
	return fmt.Errorf("files can't be locked on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func tryLock(f *os.File) (free bool, err error) { return false, lock(f) }
