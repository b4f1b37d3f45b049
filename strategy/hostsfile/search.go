package hostsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// find returns the first place that exists, or of which that can't be found
// out. Of a single place it says only what reading it would.
func find(places []string) (string, error) {
	if len(places) == 1 {
		return places[0], nil
	}
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
	}
	return "", fmt.Errorf("hostsfile: there is none of %s; make one, or set Path: %w", strings.Join(places, ", "), fs.ErrNotExist)
}
