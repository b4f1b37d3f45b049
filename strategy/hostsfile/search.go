package hostsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// search returns where a file is looked for if none is named. A home directory
// that isn't known is left out.
func search(workingDir, homeDir func() (string, error)) ([]string, error) {
	const name = ".hosts"
	dir, err := workingDir()
	if err != nil {
		return nil, fmt.Errorf("hostsfile: the working directory can't be found out; set Path: %w", err)
	}
	places := []string{filepath.Join(dir, name)}
	if home, err := homeDir(); err == nil && filepath.IsAbs(home) {
		places = append(places, filepath.Join(home, name))
	}
	if runtime.GOOS != "windows" { // where any user could make that folder
		places = append(places, "/etc/cluster/hosts")
	}
	return places, nil
}

// find returns the first place that exists. One that may not be looked for is
// passed over; where it can't be found out, that is the end, since it may be the
// one. Of a single place it says only what reading it would.
func find(places []string, stat func(string) (fs.FileInfo, error)) (string, error) {
	if len(places) == 1 {
		return places[0], nil
	}
	none := fs.ErrNotExist
	for _, p := range places {
		_, err := stat(p)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // a home may be /dev/null
		case errors.Is(err, fs.ErrPermission): // or that of the user who called sudo
			none = fmt.Errorf("%w; %w", none, err)
		default:
			return "", fmt.Errorf("hostsfile: look for the file: %w", err)
		}
	}
	return "", fmt.Errorf("hostsfile: there is none of %s; make one, or set Path: %w", strings.Join(places, ", "), none)
}
