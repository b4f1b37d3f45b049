package dns

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What is said of a failure is bounded, since all of a round may fail: each of
// hundreds of names at each server.
const (
	maxCauses = 8
	maxCause  = 500 // bytes
)

// A failure is all that has failed in a round, as one error of one line, which
// tells each cause once.
type failure struct{ causes []cause }

// A cause is why questions have failed.
type cause struct {
	first error    // of the questions
	names []string // that were asked for, each once; none: it was no question
	types []string
}

// oneError makes one error of many; nil if there are none.
func oneError(errs []error) error {
	var f failure
	index := map[[2]string]int{} // of the cause, by server and text
	for _, err := range errs {
		key := [2]string{"", err.Error()}
		query, ok := errors.AsType[*QueryError](err)
		if ok {
			key = [2]string{query.Server, query.Err.Error()}
		}
		i, known := index[key]
		if !known {
			i = len(f.causes)
			index[key] = i
			f.causes = append(f.causes, cause{first: err})
		}
		if c := &f.causes[i]; ok {
			c.names = with(c.names, query.Name)
			c.types = with(c.types, query.Type)
		}
	}
	if len(f.causes) == 0 {
		return nil
	}
	return &f
}

// with adds s to a list that lacks it.
func with(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func (f *failure) Error() string {
	var texts []string
	for _, c := range f.causes[:min(len(f.causes), maxCauses)] {
		texts = append(texts, c.text())
	}
	if more := len(f.causes) - maxCauses; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return "dns: " + strings.Join(texts, "; ")
}

// Unwrap returns the first error of each cause.
func (f *failure) Unwrap() []error {
	var firsts []error
	for _, c := range f.causes {
		firsts = append(firsts, c.first)
	}
	return firsts
}

func (c cause) text() string {
	text := strings.TrimPrefix(c.first.Error(), "dns: ")
	if query, ok := errors.AsType[*QueryError](c.first); ok {
		what := query.Name + " " + strings.Join(c.types, ", ")
		if n := len(c.names); n > 1 {
			what = fmt.Sprintf("%s of %d names, the first of which is %s,", strings.Join(c.types, ", "), n, query.Name)
		}
		text = fmt.Sprintf("%s from %s: %v", what, query.Server, query.Err)
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), ", ")
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return text
}
