package rancher

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/libcluster-go/cluster/transport"
)

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right. The server isn't
// asked.
func (s Strategy) Validate() error {
	_, urlErr := s.base()
	errs := []error{
		urlErr, checkName("Service", s.Service), checkName("Stack", s.Stack), checkPath(s.Path),
		checkWords("States", s.States), checkWords("Health", s.Health),
	}
	if s.Path != "" && (s.Service != "" || s.Stack != "") {
		errs = append(errs, fmt.Errorf("rancher: Path is %q, Service %q and Stack %q; want Path alone, or none", s.Path, s.Service, s.Stack))
	}
	if s.Basename != "" {
		if _, err := transport.ParseNodeWithPort(s.Basename+"@localhost", DefaultPort); err != nil {
			errs = append(errs, fmt.Errorf("rancher: Basename is %q: %w", s.Basename, err))
		}
	}
	if s.Port < 0 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("rancher: Port is %d; want 1 to 65535, or 0 for that of this node", s.Port))
	}
	if s.Interval < 0 {
		errs = append(errs, fmt.Errorf("rancher: Interval is %s; want more than zero, or 0 for %s", s.Interval, defaultInterval))
	}
	return errors.Join(errs...)
}

// base is BaseURL, or its default. The error shows no password, nor what might
// be one.
func (s Strategy) base() (*url.URL, error) {
	if s.BaseURL == "" {
		return url.Parse(DefaultBaseURL)
	}
	u, err := url.Parse(s.BaseURL)
	if err == nil {
		if err = checkBase(u); err == nil {
			return u, nil
		}
	}
	shown := redact(s.BaseURL)
	if e, ok := errors.AsType[*url.Error](err); ok { // which quotes all of it
		err = e.Err
		if shown != s.BaseURL {
			err = errors.New("it can't be parsed") // the cause may quote a part of the password
		}
	}
	return nil, fmt.Errorf("rancher: BaseURL is %q: %w; want such as %s", shown, err, DefaultBaseURL)
}

func checkBase(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("its scheme is neither http nor https")
	}
	if u.Hostname() == "" {
		return errors.New("it has no host")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("its port isn't one of 1 to 65535")
		}
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("it has a query or a fragment")
	}
	version := path.Base(u.Path)
	if _, err := time.Parse(time.DateOnly, version); err != nil && version != "latest" {
		return errors.New("it doesn't end with a version, which is latest or a date")
	}
	return nil
}

// redact leaves out of an address, which need not be a right one, what is before
// the host.
func redact(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "…" + address[i:]
	}
	return address
}

// checkName refuses what can't be one step of a path. The server takes a number
// for an index.
func checkName(field, name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	notInName := func(r rune) bool { return !strings.ContainsRune(letters+"0123456789-_.", r) }
	lower := strings.ToLower(name)
	if name == "" || !strings.ContainsFunc(lower, notInName) && strings.ContainsAny(lower, letters) {
		return nil
	}
	return fmt.Errorf("rancher: %s is %q; want a name of letters, digits, -, _ and dots, of which one is a letter", field, name)
}

// checkPath refuses what would ask for something else than it says.
func checkPath(p string) error {
	if p == "" {
		return nil
	}
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("%?#", r) }
	for step := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if step == "" || step == "." || step == ".." || strings.ContainsFunc(step, odd) {
			return fmt.Errorf("rancher: Path is %q; want such as self/stack, with no step that is empty, . or .., nor blanks, %%, ? and #", p)
		}
	}
	return nil
}

// checkWords refuses states that the server never tells: a container of which
// none is right would count for nothing, without a word.
func checkWords(field string, words []string) error {
	if words != nil && len(words) == 0 {
		return fmt.Errorf("rancher: %s is empty, so that no container would count; want one or more, or nil for the default", field)
	}
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }
	for _, w := range words {
		if strings.ContainsFunc(w, odd) {
			return fmt.Errorf(`rancher: %s has %q; want lower-case letters and -, or "" for what isn't told`, field, w)
		}
	}
	return nil
}
