package processes_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// A keyring has all nodes prove the same secrets, and changes them in two steps, so
// that no link is lost.
type keyring struct {
	mu      sync.Mutex
	secrets []string
	holders map[holder]struct{}
	changes int
	turns   atomic.Int64 // two for each change: when it begins and when it ends
}

// A holder is a node whose secrets change while it runs.
type holder interface{ setSecrets(secrets []string) error }

func newKeyring() *keyring {
	return &keyring{secrets: []string{mesh.NewSecret()}, holders: map[holder]struct{}{}}
}

// enter starts a node with the secrets that all others have at that moment.
func enter[H holder](k *keyring, start func(secrets []string) H) H {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := start(k.secrets)
	k.holders[h] = struct{}{}
	return h
}

// leave is called before a node ends.
func (k *keyring) leave(h holder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.holders, h)
}

// newest is the secret that a node shows first.
func (k *keyring) newest() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secrets[0]
}

// rotate replaces the secret: first all nodes take the new one beside the old, and
// after a while they drop the old one. It does so even if ctx is done.
func (k *keyring) rotate(ctx context.Context) error {
	fresh := mesh.NewSecret()
	if err := k.set(fresh, k.newest()); err != nil {
		return err
	}
	stay(ctx)
	return k.set(fresh)
}

// turn is where the changes of the secrets are. A child has no keyring.
func (k *keyring) turn() int64 {
	if k == nil {
		return 0
	}
	return k.turns.Load()
}

// changedSince reports whether secrets were changing then, or have since.
func (k *keyring) changedSince(turn int64) bool { return turn%2 == 1 || k.turn() != turn }

func (k *keyring) set(secrets ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets = secrets
	k.changes++
	k.turns.Add(1)
	defer k.turns.Add(1)
	var all []error
	for h := range k.holders {
		all = append(all, h.setSecrets(secrets))
	}
	return errors.Join(all...)
}
