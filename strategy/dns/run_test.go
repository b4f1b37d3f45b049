package dns

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/memory"
)

// The tests wait rather than work, so that more of them go side by side than there
// are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func TestPause(t *testing.T) {
	for name, tt := range map[string]struct {
		interval time.Duration
		ttl      time.Duration
		failures int
		confirm  time.Duration
		least    time.Duration
		most     time.Duration
	}{
		"the TTL":                    {0, 3 * time.Second, 0, 0, 3 * time.Second, 3300 * time.Millisecond},
		"a TTL of zero":              {0, 0, 0, 0, time.Second, 1100 * time.Millisecond},
		"a long TTL":                 {0, time.Hour, 0, 0, 5 * time.Second, 5500 * time.Millisecond},
		"no TTL":                     {0, forever, 0, 0, 5 * time.Second, 5500 * time.Millisecond},
		"a long interval":            {time.Minute, 30 * time.Second, 0, 0, 30 * time.Second, 30500 * time.Millisecond},
		"an interval under a second": {10 * time.Millisecond, 0, 0, 0, 10 * time.Millisecond, 11 * time.Millisecond},
		"a failure":                  {0, forever, 1, 0, time.Second, 1100 * time.Millisecond},
		"a second failure":           {0, forever, 2, 0, 2 * time.Second, 2200 * time.Millisecond},
		"a third failure":            {0, forever, 3, 0, 4 * time.Second, 4400 * time.Millisecond},
		"many failures":              {0, forever, 1000, 0, 5 * time.Second, 5500 * time.Millisecond},
		"many, a long interval":      {time.Hour, forever, 1000, 0, time.Hour, time.Hour + 500*time.Millisecond},
		"many in part, the TTL":      {time.Hour, 3 * time.Second, 1000, 0, 3 * time.Second, 3300 * time.Millisecond},
		"a second in part, long TTL": {time.Hour, time.Minute, 2, 0, 2 * time.Second, 2200 * time.Millisecond},
		"many in part, TTL of zero":  {time.Hour, 0, 1000, 0, time.Second, 1100 * time.Millisecond},
		"failures, a short interval": {10 * time.Millisecond, forever, 9, 0, 10 * time.Millisecond, 11 * time.Millisecond},
		"nobody":                     {time.Hour, time.Minute, 0, 6 * time.Second, 6 * time.Second, 6 * time.Second},
		"nobody, for a second":       {time.Hour, time.Second, 0, 6 * time.Second, time.Second, 1100 * time.Millisecond},
		"nobody, a short grace":      {time.Hour, time.Second, 0, 200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := Strategy{Interval: tt.interval}
			if got := s.pause(tt.ttl, tt.failures, tt.confirm, 0); got != tt.least {
				t.Errorf("it is %s, want %s", got, tt.least)
			}
			if got := s.pause(tt.ttl, tt.failures, tt.confirm, 1); got != tt.most {
				t.Errorf("it is %s at most, want %s", got, tt.most)
			}
		})
	}
}

// A telling is what a strategy that runs in a bubble has told.
type telling struct {
	mu   sync.Mutex
	said []cluster.Change
}

// run runs a strategy in a bubble until the test ends.
func run(t *testing.T, s Strategy, f *fake) *telling {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tell := new(telling)
	r := cluster.NewRoster("10.0.0.1:4370", nil, func(c cluster.Change) {
		tell.mu.Lock()
		defer tell.mu.Unlock()
		tell.said = append(tell.said, c)
	})
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.run(ctx, r, f.exchange); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return tell
}

// within lets time pass and returns what is told then.
func (tell *telling) within(d time.Duration) []string {
	time.Sleep(d)
	synctest.Wait()
	tell.mu.Lock()
	defer tell.mu.Unlock()
	texts, _ := summary(tell.said)
	tell.said = nil
	return texts
}

// TestChangesAreSeenInTime has a record that comes or goes be told within the
// TTL and a second, also where the other family never has an answer.
func TestChangesAreSeenInTime(t *testing.T) {
	for aaaa, kind := range map[string]string{soa: "Replace", "SERVFAIL": "Add"} {
		for _, ttl := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second} {
			t.Run(fmt.Sprintf("%s within %s", kind, ttl), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { seesChanges(t, ttl, aaaa, kind) })
			})
		}
	}
}

func seesChanges(t *testing.T, ttl time.Duration, aaaa, kind string) {
	t.Helper()
	records := func(nodes ...string) (text string) {
		for _, n := range nodes {
			text += fmt.Sprintf("|web. %d A %s", ttl/time.Second, n)
		}
		return text
	}
	f := &fake{says: map[string]string{"web. A": records("10.0.0.2"), "web. AAAA": aaaa}}
	s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Authoritative: true, Interval: time.Minute}
	tell := run(t, s, f)
	tell.within(10 * time.Minute) // after which failures would be far apart
	for _, nodes := range [][]string{{"10.0.0.2", "10.0.0.3"}, {"10.0.0.3"}} {
		f.set("web. A", records(nodes...))
		want := kind + " " + strings.Join(nodes, " ")
		if got := tell.within(ttl + time.Second); !slices.Contains(got, want) {
			t.Errorf("within the TTL of %s and a second it tells %q, want %q", ttl, got, want)
		}
	}
}

// TestOutage has a server be silent for a minute: nothing but failures, and the
// nodes soon after.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{says: map[string]string{"web. A": a2}}
		tell := run(t, Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Authoritative: true, Timeout: time.Second}, f)
		tell.within(0)
		f.set("web. A", "silent")
		f.set("web. AAAA", "silent")
		got := tell.within(time.Minute)
		if len(got) < 5 || slices.ContainsFunc(got, func(s string) bool { return s != "Fail" }) {
			t.Errorf("in a minute without a server it tells %q, want at least five failures and nothing else", got)
		}
		f.set("web. A", a2)
		f.set("web. AAAA", soa)
		if got := tell.within(8 * time.Second); !slices.Contains(got, "Replace 10.0.0.2") {
			t.Errorf("then it tells %q", got)
		}
	})
}

// TestNobodyIsConfirmed has an answer of nobody, or of nobody but this node, be
// asked for again several times within the remove grace, however long the
// interval and the TTL are.
func TestNobodyIsConfirmed(t *testing.T) {
	for name, text := range map[string]string{
		"NXDOMAIN":  "NXDOMAIN|ns|. 3600 SOA a. b. 1 1 1 1 3600",
		"only self": "|web. 3600 A 10.0.0.1",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{says: map[string]string{"web. A": "|web. 3600 A 10.0.0.2"}}
				s := Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Network: "ip4", Authoritative: true, Interval: time.Hour}
				tell := run(t, s, f)
				if got := tell.within(59 * time.Minute); len(got) != 1 {
					t.Errorf("in an hour with a node it tells %q, want one answer", got)
				}
				f.set("web. A", text)
				tell.within(2 * time.Minute)
				if got := tell.within(30 * time.Second); len(got) < 4 || got[0] != "Replace" {
					t.Errorf("within 30 seconds it tells %q, want at least four answers of nobody", got)
				}
			})
		})
	}
}

// TestNobodyIsConfirmedInTime has no node be cut for one answer of nobody after
// which the server is silent, however short the remove grace is.
func TestNobodyIsConfirmedInTime(t *testing.T) {
	for _, grace := range []time.Duration{500 * time.Millisecond, 5 * time.Second, 30 * time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{says: map[string]string{"web. A": "|web. 60 A 10.0.0.2"}}
				s := Strategy{
					Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Network: "ip4", Authoritative: true,
					Interval: time.Minute, Timeout: 50 * time.Second, Attempts: 1,
				}
				sup := supervise(t, over{s, f.exchange}, grace)
				time.Sleep(10 * time.Second)
				f.set("web. A", "NXDOMAIN|ns|. 60 SOA a. b. 1 1 1 1 60")
				for st := sup.Status(); st.Topologies[0].Nodes[0].RemoveAt.IsZero(); st = sup.Status() {
					time.Sleep(grace / 100)
				}
				f.set("web. A", "silent")
				time.Sleep(time.Hour)
				if got := sup.Nodes(); !slices.Equal(got, []cluster.Node{"10.0.0.2:4370"}) {
					t.Errorf("it is linked with %q after one answer of nobody, want 10.0.0.2:4370", got)
				}
			})
		})
	}
}

// TestSlowServer has one that takes its time be believed that there is nobody, and
// never fail.
func TestSlowServer(t *testing.T) {
	for takes, removed := range map[time.Duration]time.Duration{
		7 * time.Second:  30 * time.Second,
		25 * time.Second: 62 * time.Second, // two pauses and two answers
	} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{says: map[string]string{"web. A": "|web. 60 A 10.0.0.2"}}
				slow := func(ctx context.Context, network, server string, query *miekg.Msg) (*miekg.Msg, error) {
					select {
					case <-time.After(takes):
						return f.exchange(ctx, network, server, query)
					case <-ctx.Done():
						return nil, context.Cause(ctx)
					}
				}
				s := Strategy{
					Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Network: "ip4", Authoritative: true,
					Interval: time.Minute, Timeout: 30 * time.Second, Attempts: 1,
				}
				sup := supervise(t, over{s, slow}, 30*time.Second)
				time.Sleep(time.Minute)
				f.set("web. A", "NXDOMAIN|ns|. 60 SOA a. b. 1 1 1 1 60")
				for sup.Status().Topologies[0].Nodes[0].RemoveAt.IsZero() {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(removed - time.Second)
				if got := sup.Nodes(); len(got) != 1 {
					t.Errorf("before it is confirmed it is linked with %q, want 10.0.0.2:4370", got)
				}
				time.Sleep(2 * time.Second)
				if got := sup.Nodes(); len(got) > 0 {
					t.Errorf("after that it is linked with %q", got)
				}
				time.Sleep(time.Hour)
				if st := sup.Status().Topologies[0]; st.LastError != nil {
					t.Errorf("it has failed: %v", st.LastError)
				}
			})
		})
	}
}

// supervise runs a strategy with links of 10.0.0.1:4370 to 10.0.0.2:4370, where that
// is wanted, until the test ends.
func supervise(t *testing.T, s cluster.Strategy, grace time.Duration) *cluster.Supervisor {
	t.Helper()
	n := memory.New()
	me, err := n.Join("10.0.0.1:4370")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Join("10.0.0.2:4370"); err != nil {
		t.Fatal(err)
	}
	sup, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: s}},
		cluster.WithTransport(me), cluster.WithRemoveGrace(grace), cluster.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sup.Stop(); _ = sup.Wait() })
	return sup
}

// over is a strategy that asks over another network.
type over struct {
	Strategy

	exchange exchanger
}

func (o over) Run(ctx context.Context, r *cluster.Roster) error {
	return o.run(ctx, r, o.exchange)
}

// TestHintsAreNotConfirmed has answers that remove nobody be asked for no more
// often than they have to.
func TestHintsAreNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{says: map[string]string{"web. A": "|web. 60 A 10.0.0.1"}}
		tell := run(t, Strategy{Queries: []string{"web."}, Port: 4370, Servers: []string{"10.0.0.53"}, Interval: time.Minute}, f)
		if got := tell.within(59 * time.Second); len(got) != 1 {
			t.Errorf("within a minute it tells %q, want one answer", got)
		}
	})
}

// TestSeveralQueries has the nodes of all be one answer, and one that fails
// leave it in part.
func TestSeveralQueries(t *testing.T) {
	s := Strategy{Queries: []string{"web.", "db."}, Port: 4370, Basename: "app", Servers: []string{"10.0.0.53"}, Authoritative: true}
	says := map[string]string{"web. A": a2, "db. A": "|db. 5 A 10.0.0.3"}
	for name, tt := range map[string]struct {
		db   string
		want []string
	}{
		"both":           {"|db. 5 A 10.0.0.3", []string{"Replace app@10.0.0.2 app@10.0.0.3"}},
		"one has nobody": {"NXDOMAIN" + soa, []string{"Replace app@10.0.0.2"}},
		"one fails":      {"SERVFAIL", []string{"Add app@10.0.0.2", "Fail"}},
	} {
		t.Run(name, func(t *testing.T) {
			says["db. A"] = tt.db
			if got, err := told(t, s, (&fake{says: says}).exchange); !slices.Equal(got, tt.want) {
				t.Errorf("the roster is told %q with %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestSRVNames(t *testing.T) {
	f := &fake{says: map[string]string{"web. SRV": "|web. 5 SRV 0 50 4370 Web-0.Web.|web. 5 SRV 0 50 4371 web-1.web.|extra|web-0.web. 5 A 10.0.0.2"}}
	got, err := told(t, Strategy{Queries: []string{"web."}, SRV: true, Names: true, Servers: []string{"10.0.0.53"}, Authoritative: true}, f.exchange)
	if want := []string{"Replace web-0.web web-1.web:4371"}; !slices.Equal(got, want) {
		t.Errorf("the roster is told %q with %v, want %q", got, err, want)
	}
	if asked := f.questions(); !slices.Equal(asked, []string{"udp 10.0.0.53:53 web. SRV"}) {
		t.Errorf("it asks %q, want the SRV records only", asked)
	}
}
