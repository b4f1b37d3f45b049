package strategytest

import (
	"strings"
	"testing"
)

func TestParseGoroutine(t *testing.T) {
	for name, tt := range map[string]struct {
		stack string
		want  goroutine
	}{
		"of a goroutine": {
			"goroutine 7 [chan receive, 2 minutes]:\nexample.com/a.(*T).wait(0x1)\n\t/a.go:9 +0x1\nexample.com/a.f.func1()\n\t/a.go:12 +0x19\n" +
				"created by example.com/a.f in goroutine 6\n\t/a.go:11 +0x2d",
			goroutine{id: "7", entry: "example.com/a.f.func1()", creator: "example.com/a.f", parent: "6"},
		},
		"of a timer, in a bubble": {
			"goroutine 8 [select (durable), synctest bubble 3]:\nexample.com/a.f()\n\t/a.go:12 +0x19\ncreated by time.goFunc\n\t/sleep.go:215 +0x2d",
			goroutine{id: "8", bubble: "3", entry: "example.com/a.f()", creator: "time.goFunc"},
		},
		"the first": {"goroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1", goroutine{id: "1", entry: "main.main()"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.stack = tt.stack
			if got := parseGoroutine(tt.stack); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestAlive has the caller come first, with who started it.
func TestAlive(t *testing.T) {
	mine := make(chan goroutine)
	go func() { mine <- alive()[0] }()
	me, child := alive()[0], <-mine
	if child.parent != me.id || !strings.Contains(child.entry, "TestAlive.func1") {
		t.Errorf("the child is %+v, and the parent %s", child, me.id)
	}
}
