package cluster

import (
	"os/exec"
	"strings"
	"testing"
)

// A program links what it uses, and no more.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".", "./strategy/static").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("go list names only %q", deps)
	}
	for _, dep := range deps {
		for _, heavy := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/miekg/dns", "net/http/httptest", "testing", "go.uber.org/goleak"} {
			if strings.HasPrefix(dep+"/", strings.TrimSuffix(heavy, "/")+"/") {
				t.Errorf("%s is linked into every program", dep)
			}
		}
	}
}
