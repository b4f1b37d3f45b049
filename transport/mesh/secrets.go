package mesh

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/internal/secret"
)

const (
	maxSecrets  = 16
	nonceSize   = 32
	proveWithin = 10 * time.Second
	askAgain    = time.Second
)

// SetSecrets replaces Config.Secrets while the mesh runs, under the same rules.
// A link that was proved with a secret that is gone has to prove itself again
// with one of the new, over the same connection, and is closed if it hasn't
// within 10 seconds: so a secret that was stolen is worth nothing any more. To
// lose no link, set [new, old] on every node, and then [new] on every node. It
// fails on a mesh that has no secrets.
func (m *Mesh) SetSecrets(secrets []string) error {
	if !m.proves() {
		return errors.New("mesh: SetSecrets on a mesh without Config.Secrets, whose links have proved none")
	}
	if err := checkSecrets("SetSecrets", secrets); err != nil {
		return err
	}
	p, err := newProver(secrets)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prover.Store(p)
	for _, l := range m.links {
		if l.peer != nil {
			m.checkKey(l, time.Now())
		}
	}
	return nil
}

func checkSecrets(field string, secrets []string) error {
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return fmt.Errorf("mesh: %s has %d secrets; want 1 to %d", field, len(secrets), maxSecrets)
	}
	for i, s := range secrets {
		if err := secret.Check(s); err != nil {
			return fmt.Errorf("mesh: %s[%d] %w; mesh.NewSecret makes a good one", field, i, err)
		}
	}
	return nil
}

// checkKey asks the other end of a link for a proof if the secret of its last
// one is gone. The caller holds mu.
func (m *Mesh) checkKey(l *link, now time.Time) {
	if !m.proves() || m.prover.Load().has(l.key) {
		l.nonce, l.unproved = nil, time.Time{}
		return
	}
	if l.unproved.IsZero() {
		l.unproved = now
	}
	if now.Sub(l.challenged) < askAgain {
		return
	}
	l.challenged = now
	l.nonce = make([]byte, nonceSize)
	_, _ = rand.Read(l.nonce)
	l.out.urge(frameChallenge, l.nonce)
}

// unproven asks again for a proof that is due, and reports whether it hasn't
// come in time. The caller holds mu.
func (m *Mesh) unproven(l *link) bool {
	if l.unproved.IsZero() {
		return false
	}
	now := time.Now()
	m.checkKey(l, now)
	return !l.unproved.IsZero() && now.Sub(l.unproved) >= proveWithin-2*checkAtLeast // so that it is over in time
}

// role is this node's side in the proofs of a link.
func (l *link) role() byte {
	if l.dialled {
		return 'D'
	}
	return 'A'
}

// peerRole is the other's.
func (l *link) peerRole() byte { return 'D' + 'A' - l.role() }

// proveAgain answers a challenge with a proof of each secret.
func (m *Mesh) proveAgain(l *link, nonce []byte) {
	if !m.proves() {
		return
	}
	var proofs []byte
	for _, key := range m.prover.Load().keys {
		proofs = append(proofs, reproof(key, l.role(), l.ekm, nonce)...)
	}
	l.out.urge(frameReproof, proofs)
}

// provedAgain takes the answer to a challenge. One that isn't good enough yet is
// asked for again: the other node may get the new secret later.
func (m *Mesh) provedAgain(l *link, proofs []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.nonce == nil {
		return // nobody asked
	}
	for _, key := range m.prover.Load().keys {
		want := reproof(key, l.peerRole(), l.ekm, l.nonce)
		for got := range slices.Chunk(proofs, proofSize) {
			if hmac.Equal(want, got) {
				l.key, l.nonce, l.unproved = key, nil, time.Time{}
				return
			}
		}
	}
}
