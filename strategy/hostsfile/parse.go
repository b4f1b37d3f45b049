package hostsfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

const (
	// maxLine is more than a node with its name can have.
	maxLine = 1024
	// maxReported bounds the bad lines that an error tells of.
	maxReported = 10
)

// A badLine is one that isn't a host.
type badLine struct {
	number int // from 1; 0 is the file as a whole
	err    error
}

// bad are the bad lines of a file.
type bad struct {
	first []badLine
	more  int
}

func (b *bad) add(number int, err error) {
	if len(b.first) < maxReported {
		b.first = append(b.first, badLine{number, err})
	} else {
		b.more++
	}
}

// parse returns the nodes of a file's lines, and the lines that are none. port
// is the default one; 0 means that there is none.
func parse(data []byte, port int) (nodes []cluster.Node, bad bad) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF")) // some editors' mark of UTF-8
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		bad.add(0, errors.New("it is not UTF-8 text"))
		return nil, bad
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		host, err := hostOf(line)
		if host == "" && err == nil {
			continue
		}
		var n cluster.Node
		if err == nil {
			n, err = node(host, port)
		}
		if err != nil {
			bad.add(number, err)
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, bad
}

// hostOf returns the host of a line, empty if it has none.
func hostOf(line string) (string, error) {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	switch {
	case len(line) > maxLine:
		return "", fmt.Errorf("%q... has %d bytes, more than any host", line[:32], len(line))
	case strings.HasPrefix(line, "%"):
		return "", nil
	case !strings.HasPrefix(line, "'"):
		return line, nil
	}
	host, after, _ := strings.Cut(line[1:], "'")
	after, _, _ = strings.Cut(after, "%")
	if strings.TrimSpace(after) != "." || host == "" {
		return "", fmt.Errorf("%q begins with a quote; want one host in quotes and a dot on a line, as 'web.internal'. is one", line)
	}
	return host, nil
}

func node(host string, port int) (cluster.Node, error) {
	n, err := transport.ParseNodeWithPort(host, port)
	if err == nil {
		return n, nil
	}
	if _, withPort := transport.ParseNodeWithPort(host, 1); withPort == nil {
		return "", fmt.Errorf("%w; give it one, or set Port", err)
	}
	return "", err
}

// in makes one error of them, in the file of path; nil if there are none.
func (b *bad) in(path string) error {
	var errs []error
	for _, line := range b.first {
		where := path
		if line.number > 0 {
			where = fmt.Sprintf("%s:%d", path, line.number)
		}
		errs = append(errs, fmt.Errorf("hostsfile: %s: %w", where, line.err))
	}
	if b.more > 0 {
		errs = append(errs, fmt.Errorf("hostsfile: %s: %d more bad lines", path, b.more))
	}
	return errors.Join(errs...)
}
