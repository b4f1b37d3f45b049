package pathwatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links in a path, as kernels do.
const maxLinks = 40

// folders returns the folders whose entries decide where an absolute path
// leads: the one of the file, the one of each symbolic link on the way, and, if
// something is missing, the one that lacks it. None is itself reached through a
// link.
func folders(path string) (list []string) {
	at, rest := split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err == nil && info.Mode()&fs.ModeSymlink != 0 && links < maxLinks:
			links++
			list = append(list, at)
			target, err := os.Readlink(next)
			if err != nil {
				return list
			}
			root, parts := split(target)
			if root != "" {
				at = root
			}
			rest = append(parts, rest...)
		case err != nil, len(rest) == 0, !info.IsDir():
			return append(list, at)
		default:
			at = next
		}
	}
	return append(list, at)
}

// split returns the root of a path, empty if it is relative, and its parts.
func split(path string) (root string, parts []string) {
	volume := filepath.VolumeName(path)
	if filepath.IsAbs(path) {
		root = volume + string(filepath.Separator)
	}
	return root, strings.FieldsFunc(path[len(volume):], func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) })
}
