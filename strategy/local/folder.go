package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// folder returns the absolute path of the registry.
func (s Strategy) folder() (string, error) {
	name := "cluster-" + escape(s.cluster())
	if s.Dir != "" {
		dir, err := filepath.Abs(s.Dir)
		if err != nil {
			return "", fmt.Errorf("local: Dir is %q: %w", s.Dir, err)
		}
		return filepath.Join(dir, name), nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && isOurs(dir) {
		return filepath.Join(dir, name), nil
	}
	if uid := os.Geteuid(); uid >= 0 { // not on Windows
		name = fmt.Sprintf("cluster-%d-%s", uid, escape(s.cluster()))
	}
	dir, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", fmt.Errorf("local: the folder for temporary files is %q: %w; set Dir", os.TempDir(), err)
	}
	return filepath.Join(dir, name), nil
}

func (s Strategy) cluster() string {
	if s.Cluster == "" {
		return "default"
	}
	return s.Cluster
}

// escape makes a part of a file's name that tells any two clusters apart, also
// where upper and lower case are the same.
func escape(cluster string) string {
	var b strings.Builder
	for _, c := range []byte(cluster) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// isOurs reports whether dir is a folder of this user. sudo and su may leave
// that of another in the environment.
func isOurs(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	uid, known := owner(info)
	return !known || uid == os.Geteuid()
}

// openFolder opens the folder, which is made if it is absent, if it is private.
// All is done relative to what it returns, so that nobody can put another in
// its place.
func openFolder(path string) (*os.Root, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("local: make the registry's folder: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("local: make the registry: %w", err)
	}
	if _, err := lookAt(path); err != nil { // before opening what may be a link
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("local: open the registry: %w", err)
	}
	if err := check(path, root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// errReplaced is another folder, or none, where the one was that is open.
var errReplaced = errors.New("it has been removed or replaced; it is opened again, or made")

// check checks that root is still what path leads to, and private.
func check(path string, root *os.Root) error {
	is, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("local: registry %s: %w", path, err)
	}
	at, err := os.Lstat(path)
	if err != nil || !os.SameFile(is, at) {
		return fmt.Errorf("local: registry %s: %w", path, errReplaced)
	}
	return private(path, is, os.Geteuid())
}

func lookAt(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("local: look at the registry: %w", err)
	}
	return info, private(path, info, os.Geteuid())
}

// private returns an error if what is at path isn't a folder that is only for
// the user uid.
func private(path string, info fs.FileInfo, uid int) error {
	is := func(what string, args ...any) error {
		return fmt.Errorf("local: registry %s %s; remove it, or set Dir", path, fmt.Sprintf(what, args...))
	}
	switch of, known := owner(info); {
	case info.Mode()&fs.ModeSymlink != 0:
		return is("is a symbolic link, which may be another user's; want a folder")
	case !info.IsDir():
		return is("is not a folder")
	case known && of != uid:
		return is("belongs to user %d and not to this one, %d", of, uid)
	case known && info.Mode().Perm()&0o077 != 0:
		return is("has mode %04o, so that others have access; want 0700", info.Mode().Perm())
	}
	return nil
}
