package strategytest

import (
	"reflect"
	"runtime"
	"strings"

	"github.com/libcluster-go/cluster"
)

// A goroutine is one that lives, as runtime.Stack prints it.
type goroutine struct {
	id      string
	bubble  string // of synctest; empty: it isn't in one
	entry   string // the call that it began with
	creator string // the func that started it
	parent  string // the goroutine that did; empty: the runtime, as it does for timers
	stack   string
}

// alive returns all goroutines, the caller's first.
func alive() []goroutine {
	stacks := make([]byte, 1<<16)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) {
		stacks = make([]byte, 2*n)
		n = runtime.Stack(stacks, true)
	}
	var all []goroutine
	for stack := range strings.SplitSeq(strings.TrimSpace(string(stacks[:n])), "\n\n") {
		all = append(all, parseGoroutine(stack))
	}
	return all
}

// parseGoroutine reads such as
//
//	goroutine 7 [chan receive, synctest bubble 3]:
//	example.com/a.f.func1()
//		/src/a/a.go:12 +0x19
//	created by example.com/a.f in goroutine 6
//		/src/a/a.go:11 +0x2d
func parseGoroutine(stack string) goroutine {
	head, calls, _ := strings.Cut(stack, "\n")
	g := goroutine{stack: stack}
	g.id, head, _ = strings.Cut(strings.TrimPrefix(head, "goroutine "), " ")
	_, bubble, _ := strings.Cut(head, "synctest bubble ")
	g.bubble, _, _ = strings.Cut(bubble, "]")
	for line := range strings.SplitSeq(calls, "\n") {
		if created, ok := strings.CutPrefix(line, "created by "); ok {
			g.creator, g.parent, _ = strings.Cut(created, " in goroutine ")
		} else if g.creator == "" && !strings.HasPrefix(line, "\t") {
			g.entry = line
		}
	}
	return g
}

// strays returns the stacks of goroutines of s that live though none of those
// before has started them, nor any that these have: the label of a run is lost
// where a timer calls a func. Goroutines of a source, and of tests beside, come
// from one before as a rule, or else are none of a timer or of the package of s.
func strays(before []goroutine, s cluster.Strategy) (left []string) {
	now := alive()
	known, living := map[string]bool{}, map[string]goroutine{}
	for _, g := range before {
		known[g.id] = true
	}
	for _, g := range now {
		living[g.id] = g
	}
	pkg := packageOf(s) + "."
	for _, g := range now {
		if g.bubble != now[0].bubble {
			continue
		}
		first := g // of its ancestors
		for !known[first.id] && living[first.parent].id != "" {
			first = living[first.parent]
		}
		switch {
		case known[first.id] || known[first.parent]:
		case first.parent == "" || strings.HasPrefix(g.entry, pkg) || strings.HasPrefix(g.creator, pkg):
			left = append(left, g.stack)
		}
	}
	return left
}

// packageOf returns the path of the package whose strategy it is.
func packageOf(s cluster.Strategy) string {
	t := reflect.TypeOf(s)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}
