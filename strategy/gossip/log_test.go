package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestLog has bad packets make one line in ten minutes.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		e := &ether{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		logger := slog.New(slog.NewTextHandler(&out, nil))
		go func() {
			done <- etherStrategy{Strategy{Secrets: []string{secretA}}, e}.Run(ctx, cluster.NewRoster(nodeA, logger, func(cluster.Change) {}))
		}()
		e.listen(t, nodeB, func(s *Strategy) { s.Secrets = []string{secretB} })
		time.Sleep(25 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n != 3 || !strings.Contains(out.String(), "forged=") {
			t.Errorf("%d lines, want 3 that count:\n%s", n, out.String())
		}
	})
}

// TestTroubleLog has interfaces that can't be used make one line when that changes.
func TestTroubleLog(t *testing.T) {
	eth0, eth1 := trouble{"eth0 (IPv4)", errBroken}, trouble{"eth1 (IPv6)", errBroken}
	for name, tt := range map[string]struct {
		then   []trouble // after none
		says   []string  // the lines of that
		broken error     // nothing can be sent at all
	}{
		"all are well": {nil, nil, nil},
		"one":          {[]trouble{eth0}, []string{`level=WARN`, `interfaces="eth0 (IPv4)"`, errBroken.Error()}, nil},
		"two":          {[]trouble{eth0, eth1}, []string{`level=WARN`, `interfaces="eth0 (IPv4), eth1 (IPv6)"`}, nil},
		"that is told": {[]trouble{eth0}, nil, errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				e := &ether{}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				logger := slog.New(slog.NewTextHandler(&out, nil))
				go func() {
					done <- etherStrategy{Strategy{Secrets: []string{secretA}}, e}.Run(ctx, cluster.NewRoster(nodeA, logger, func(cluster.Change) {}))
				}()
				lines := func(change func(*ether)) string {
					e.set(change)
					time.Sleep(time.Minute)
					synctest.Wait()
					defer out.Reset()
					return out.String()
				}
				if got := lines(func(*ether) {}); got != "" {
					t.Errorf("at first it logs %s", got)
				}
				got := lines(func(e *ether) { e.broken = tt.broken; e.troubles = tt.then })
				if n := strings.Count(got, "\n"); n != min(len(tt.says), 1) {
					t.Errorf("it logs %d lines, want %d:\n%s", n, min(len(tt.says), 1), got)
				}
				for _, say := range tt.says {
					if !strings.Contains(got, say) {
						t.Errorf("it logs %s, want %q in that", got, say)
					}
				}
				got = lines(func(e *ether) { e.broken, e.troubles = nil, nil })
				if n := strings.Count(got, "level=INFO"); n != min(len(tt.says), 1) {
					t.Errorf("when all is well again it logs %q", got)
				}
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
