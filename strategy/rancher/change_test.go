package rancher

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestChangeIsToldSoon has a change at a server on loopback be told in under
// 100 ms while a request waits for it, and an interval of an hour not count. On a
// machine that is busy some may be late, but not every other one, and none for
// long.
func TestChangeIsToldSoon(t *testing.T) {
	m := newMetadata()
	m.setNodes(self, a)
	waiting := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("wait") == "true" {
			select {
			case waiting <- struct{}{}:
			case <-r.Context().Done():
			}
		}
		m.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	told := start(t, Strategy{BaseURL: server.URL + "/latest", Interval: time.Hour}, self)
	expect(t, told, a)
	var took []time.Duration
	for i := range 11 {
		deadline := time.NewTimer(time.Minute)
		select {
		case <-waiting:
			deadline.Stop()
		case <-deadline.C:
			t.Fatal("no request waits for a change")
		}
		n := []cluster.Node{b, a}[i%2]
		since := time.Now()
		m.setNodes(self, n)
		expect(t, told, n)
		took = append(took, time.Since(since))
	}
	slices.Sort(took)
	t.Logf("a change is told after %s to %s", took[0], took[len(took)-1])
	if most := took[len(took)*2/3]; most >= 100*time.Millisecond {
		t.Errorf("two thirds take up to %s, want less than 100ms", most)
	}
	if last := took[len(took)-1]; last >= 3*time.Second {
		t.Errorf("the last takes %s, want less than 3s", last)
	}
}
