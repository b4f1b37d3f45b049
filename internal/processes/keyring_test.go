package processes_test

import (
	"context"
	"errors"
	"sync"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// A keyring has all nodes prove the same secrets, and changes them in two steps, so
// that no link is lost.
type keyring struct {
	mu      sync.Mutex
	secrets []string
	holders map[holder]struct{}
	changes int
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

func (k *keyring) set(secrets ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets = secrets
	k.changes++
	var all []error
	for h := range k.holders {
		all = append(all, h.setSecrets(secrets))
	}
	return errors.Join(all...)
}
