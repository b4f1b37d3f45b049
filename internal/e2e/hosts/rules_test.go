//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestPossible has what is missing be named, with what to do.
func TestPossible(t *testing.T) {
	for name, tt := range map[string]struct {
		user   int
		absent []string
		says   []string // nil: it is possible
	}{
		"root":              {0, nil, nil},
		"another user":      {1000, nil, []string{"needs root", "run the tests as root", "CLUSTER_E2E=skip"}},
		"no ip":             {0, []string{"ip"}, []string{"ip is not installed", "iproute2", ".ci/e2e", "CLUSTER_E2E=skip"}},
		"no nft":            {0, []string{"nft"}, []string{"nft is not installed", "nftables"}},
		"nothing, not root": {1000, []string{"ip", "nft"}, []string{"needs root"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := possible(tt.user, func(program string) (string, error) {
				if slices.Contains(tt.absent, program) {
					return "", errors.New("not found")
				}
				return "/bin/" + program, nil
			})
			if (err == nil) != (tt.says == nil) {
				t.Fatalf("it returns %v", err)
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
		})
	}
}

// TestStale has only the namespaces of processes that are gone be swept.
func TestStale(t *testing.T) {
	const gone = 1<<31 - 1 // more than any process has
	for name, want := range map[string]bool{
		fmt.Sprintf("cluster-e2e-%d-1-h1", gone):        true,
		fmt.Sprintf("cluster-e2e-%d-1-h1", os.Getpid()): false,
		fmt.Sprintf("other-%d-1-h1", gone):              false,
		"cluster-e2e-x-1-h1":                            false,
		"":                                              false,
	} {
		if got := stale(name); got != want {
			t.Errorf("stale(%q) is %t", name, got)
		}
	}
}

func TestRules(t *testing.T) {
	got := rules(map[direction]fault{{"v1", "v2"}: 100, {"v2", "v1"}: 30})
	want := `table bridge faults
delete table bridge faults
table bridge faults {
	chain forward {
		type filter hook forward priority 0
		iifname "v1" oifname "v2" drop
		iifname "v2" oifname "v1" numgen random mod 100 < 30 drop
	}
}
`
	if got != want {
		t.Errorf("they are\n%s\nwant\n%s", got, want)
	}
}
