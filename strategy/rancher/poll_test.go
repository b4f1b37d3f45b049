package rancher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

const (
	self = cluster.Node("10.0.0.1:4370")
	a    = cluster.Node("10.0.0.2:4370")
	b    = cluster.Node("10.0.0.3:4370")
)

// inMemory returns a server that says self and a, and a strategy that reaches
// it, for a bubble.
func inMemory(t *testing.T) (*metadata, Strategy) {
	t.Helper()
	m := newMetadata()
	m.setNodes(self, a)
	return m, Strategy{Client: serve(t, m).client()}
}

// expect waits for the next change and checks that it is this answer.
func expect(t *testing.T, told <-chan cluster.Change, nodes ...cluster.Node) {
	t.Helper()
	if c := next(t, told); c.Kind != cluster.Replaced || !slices.Equal(c.Nodes, nodes) {
		t.Fatalf("it tells %+v, want a Replace of %q", c, nodes)
	}
}

// silent checks that nothing was told that hasn't been expected.
func silent(t *testing.T, told <-chan cluster.Change) {
	t.Helper()
	select {
	case c := <-told:
		t.Fatalf("it tells %+v, want nothing", c)
	default:
	}
}

// TestRequests has the version asked for before the content, and be waited for
// after it, all in JSON.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		told := start(t, s, self)
		expect(t, told, a)
		time.Sleep(time.Second)
		m.setNodes(self, a, b)
		expect(t, told, a, b)
		time.Sleep(time.Second)
		var got []string
		for _, r := range m.requests() {
			got = append(got, r.path)
			if r.accept != "application/json" {
				t.Errorf("%s accepts %q, want JSON", r.path, r.accept)
			}
		}
		const v1, v2 = "00000002-85a2-4d3c-9f0e-d1f0a8b7c6e5", "00000003-85a2-4d3c-9f0e-d1f0a8b7c6e5"
		want := []string{
			"/latest/version",
			"/latest/self/service",
			"/latest/version?maxWait=30&value=" + v1 + "&wait=true",
			"/latest/self/service",
			"/latest/version?maxWait=30&value=" + v2 + "&wait=true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("it asks for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestChange has changes be told within 100 ms, though Interval is an hour: in
// a bubble, only timers take time.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		s.Interval = time.Hour
		told := start(t, s, self)
		expect(t, told, a)
		for i, quiet := range []time.Duration{0, time.Millisecond, time.Second, 29 * time.Second, time.Minute, time.Hour} {
			time.Sleep(quiet)
			silent(t, told)
			now, changed := [][]cluster.Node{{a, b}, {a}}[i%2], time.Now()
			m.setNodes(now...)
			expect(t, told, now...)
			if d := time.Since(changed); d >= 100*time.Millisecond {
				t.Errorf("after %s without a change, one is told %s later, want less than 100ms", quiet, d)
			}
		}
	})
}

// TestChangeAfterNobody has a change of nobody into somebody be told as soon, as
// in an upgrade of a service of two: the wait for it is interrupted again and
// again to ask whether there is still nobody.
func TestChangeAfterNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		s.Interval = time.Hour
		told := start(t, s, self)
		expect(t, told, a)
		for i, quiet := range []time.Duration{0, time.Millisecond, time.Second, 3 * time.Second, 4 * time.Second, time.Minute} {
			m.setNodes(self)
			expect(t, told)
			time.Sleep(quiet)
			synctest.Wait()
			for len(told) > 0 {
				expect(t, told)
			}
			now, changed := []cluster.Node{b, a}[i%2], time.Now()
			m.setNodes(self, now)
			c := next(t, told)
			for ; c.Kind == cluster.Replaced && len(c.Nodes) == 0; c = next(t, told) {
			}
			if c.Kind != cluster.Replaced || !slices.Equal(c.Nodes, []cluster.Node{now}) {
				t.Fatalf("it tells %+v, want a Replace of %s", c, now)
			}
			if d := time.Since(changed); d >= 100*time.Millisecond {
				t.Errorf("after %s of nobody, a change is told %s later, want less than 100ms", quiet, d)
			}
		}
	})
}

// TestChangeInBetween has the content change right after it was read, and right
// after the version was.
func TestChangeInBetween(t *testing.T) {
	for _, path := range []string{"/latest/version", "/latest/self/service"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				var once sync.Once
				m.after = func(asked string) {
					if asked == path {
						once.Do(func() { m.setNodes(self, b) })
					}
				}
				told := start(t, s, self)
				time.Sleep(100 * time.Millisecond)
				var last cluster.Change
				for len(told) > 0 {
					last = <-told
				}
				if !slices.Equal(last.Nodes, []cluster.Node{b}) {
					t.Errorf("it tells %+v last, want %s", last, b)
				}
			})
		})
	}
}

// TestIdle has a server be asked every 30 to 35 seconds, by which it is late,
// and nothing be told.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		told := start(t, s, self)
		expect(t, told, a)
		m.requests()
		time.Sleep(time.Hour)
		silent(t, told)
		asked := m.requests()
		for i := range asked[1:] {
			if d := asked[i+1].at.Sub(asked[i].at); d <= 30*time.Second || d > 36*time.Second {
				t.Fatalf("it asks %s after it did before, want 30s to 35s", d)
			}
		}
		if len(asked) < 3600/36 {
			t.Errorf("it asks %d times in an hour", len(asked))
		}
	})
}

// TestTiredServer has one that doesn't hold requests be asked every interval,
// which differs each time.
func TestTiredServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		m.tired, s.Interval = true, 10*time.Second
		told := start(t, s, self)
		expect(t, told, a)
		time.Sleep(time.Second)
		m.requests()
		time.Sleep(10 * time.Minute)
		silent(t, told)
		asked := m.requests()
		spans := map[time.Duration]bool{}
		for i := range asked[1:] {
			d := asked[i+1].at.Sub(asked[i].at)
			spans[d] = true
			if d < 9*time.Second || d > 11*time.Second {
				t.Errorf("it asks %s after it did before, want 9s to 11s", d)
			}
		}
		if len(spans) < 20 {
			t.Errorf("it asks after %v: there is no jitter", spans)
		}
		m.setNodes(self, b)
		time.Sleep(11 * time.Second)
		expect(t, told, b)
	})
}

// TestBusy has a server whose version differs at every look be asked at most 20
// times a second.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t)
		m.after = func(string) { m.setNodes(self, a) }
		start(t, s, self)
		time.Sleep(10 * time.Second)
		if n := len(m.requests()); n < 2*100 || n > 2*201 {
			t.Errorf("it asks %d times in 10 s, want two requests at most 20 times a second", n)
		}
	})
}

// TestMute has a server that doesn't answer any more be noticed.
func TestMute(t *testing.T) {
	for name, tt := range map[string]struct {
		mute http.HandlerFunc
		hush func(m *metadata, mute http.HandlerFunc)
		want time.Duration
	}{
		"while it holds a request":       {hang, func(m *metadata, mute http.HandlerFunc) { m.fail(mute, false) }, 40 * time.Second},
		"before it answers":              {hang, func(m *metadata, mute http.HandlerFunc) { m.fail(only("self", mute), false); m.setNodes() }, 5 * time.Second},
		"in the middle of an answer":     {cut(hang), func(m *metadata, mute http.HandlerFunc) { m.fail(only("self", mute), false); m.setNodes() }, 5 * time.Second},
		"in the middle of an odd one":    {odd(hang), func(m *metadata, mute http.HandlerFunc) { m.fail(only("self", mute), false); m.setNodes() }, 5 * time.Second},
		"in the middle of a held answer": {cut(hang), func(m *metadata, mute http.HandlerFunc) { m.fail(mute, true) }, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := inMemory(t)
				told := start(t, s, self)
				expect(t, told, a)
				time.Sleep(spacing)
				synctest.Wait()
				since := time.Now()
				tt.hush(m, tt.mute)
				c := next(t, told)
				if c.Kind != cluster.Failed || time.Since(since) != tt.want {
					t.Errorf("it tells %+v after %s, want a Fail after %s", c, time.Since(since), tt.want)
				}
				if name != "in the middle of an odd one" && !errors.Is(c.Err, context.DeadlineExceeded) {
					t.Errorf("%v isn't DeadlineExceeded", c.Err)
				}
			})
		})
	}
}

// only has the outage for what is under one path of latest, and the answer of a
// server that is well for the others.
func only(path string, outage http.HandlerFunc) http.HandlerFunc {
	version := 0
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/latest/"+path) {
			outage(w, r)
			return
		}
		version++
		respond(w, r, fmt.Sprint(version), true)
	}
}

// odd begins an answer that isn't one.
func odd(end http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_ = http.NewResponseController(w).Flush()
		end(w, r)
	}
}

// TestOutages has links outlast each outage, for longer than a node that is
// missing would be kept, and a change be heard afterwards.
func TestOutages(t *testing.T) {
	var names []string
	for name := range newMetadata().faults(&network{}) {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMetadata()
				m.setNodes(self, a)
				net := serve(t, m)
				s := Strategy{Client: net.client()}
				sup := supervise(t, s, 30*time.Second)
				linked := func(when string, want ...cluster.Node) {
					t.Helper()
					time.Sleep(2 * time.Minute)
					if got := sup.Nodes(); !slices.Equal(got, want) {
						t.Fatalf("%s, it is linked with %q, want %q", when, got, want)
					}
				}
				linked("at first", a)
				fault := m.faults(net)[name]
				fault.Break()
				linked("in the outage", a)
				fault.Mend()
				linked("after it", a)
				m.setNodes(self, b)
				if name == "an address that is none" { // the others were hints, which are not cut
					linked("after a change", a, b)
				} else {
					linked("after a change", b)
				}
			})
		})
	}
}

func TestPause(t *testing.T) {
	const ms, interval = time.Millisecond, 5 * time.Second
	for name, tt := range map[string]struct {
		interval time.Duration
		failures int
		held     time.Duration
		least    time.Duration
		most     time.Duration
	}{
		"after a change":                 {interval, 0, hold, spacing, spacing},
		"held":                           {time.Hour, 0, 35 * time.Second, spacing, spacing},
		"held for a short time":          {time.Hour, 0, heldLeast + 1, spacing, spacing},
		"not held":                       {interval, 0, 0, 4500 * ms, 5500 * ms},
		"not held, slow":                 {interval, 0, 1000 * ms, 3500 * ms, 4500 * ms},
		"not held, slower than interval": {100 * ms, 0, 1000 * ms, spacing, spacing},
		"the first failure":              {interval, 1, 0, 50 * ms, 100 * ms},
		"the third":                      {interval, 3, 0, 200 * ms, 400 * ms},
		"the last":                       {interval, 1000, 0, 2500 * ms, 5000 * ms},
		"a long interval":                {time.Hour, 1000, 0, 15 * time.Second, 30 * time.Second},
		"a short interval":               {ms, 1000, 0, spacing, spacing},
	} {
		t.Run(name, func(t *testing.T) {
			least, most := pause(tt.interval, tt.failures, tt.held, 0), pause(tt.interval, tt.failures, tt.held, 1)
			if least != tt.least || most != tt.most {
				t.Errorf("it pauses for %s to %s, want %s to %s", least, most, tt.least, tt.most)
			}
		})
	}
}

// BenchmarkChange is from a change at a server on loopback to the roster.
func BenchmarkChange(bm *testing.B) {
	m := newMetadata()
	m.setNodes(self, a)
	server := httptest.NewServer(m)
	defer server.Close()
	told := make(chan cluster.Change)
	r := cluster.NewRoster(self, nil, func(c cluster.Change) { told <- c })
	go func() {
		defer close(told)
		s := Strategy{BaseURL: server.URL + "/latest", Interval: time.Hour}
		if err := s.Run(bm.Context(), r); err != nil {
			bm.Error(err)
		}
	}()
	<-told
	var waited time.Duration
	for i := 0; bm.Loop(); i++ {
		time.Sleep(2 * spacing) // until it waits again
		since := time.Now()
		m.setNodes(self, []cluster.Node{a, b}[i%2])
		<-told
		waited += time.Since(since)
	}
	bm.ReportMetric(float64(waited.Microseconds())/float64(bm.N), "µs/change")
}
