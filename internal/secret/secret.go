// Package secret says which secrets are good enough to be shared by a cluster.
//
//	if err := secret.Check(s); err != nil {
//		return fmt.Errorf("mesh: Config.Secrets[%d] %w", i, err)
//	}
//
// # Concurrency
//
// Check is a pure function.
package secret

import "fmt"

// What a secret has at least.
const (
	MinBytes    = 16
	MinDistinct = 8
)

// Check refuses what someone who has recorded a packet or a handshake could
// guess offline. Its error continues the name of the field ("Secrets[0] …") and
// doesn't show the secret.
func Check(s string) error {
	if len(s) < MinBytes {
		return fmt.Errorf("has %d bytes; want at least %d", len(s), MinBytes)
	}
	var seen [256]bool
	distinct := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			distinct++
		}
	}
	if distinct < MinDistinct {
		return fmt.Errorf("has %d different bytes; want at least %d", distinct, MinDistinct)
	}
	return nil
}
