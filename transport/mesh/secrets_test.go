package mesh

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

const nextSecret = "a secret of the second generation"

// rotate sets the secrets of all, one after the other.
func rotate(t *testing.T, meshes []*Mesh, secrets ...string) {
	t.Helper()
	for _, m := range meshes {
		if err := m.SetSecrets(secrets); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
}

// fullOf starts n meshes that are all linked.
func (f *fakeNet) fullOf(t *testing.T, n int) []*Mesh {
	t.Helper()
	meshes := f.listenAll(t, n, nil)
	for _, m := range meshes[1:] {
		connect(t, m, meshes[0])
	}
	time.Sleep(5 * time.Second)
	wantFull(t, "at first", meshes)
	return meshes
}

// TestRotationDropsNothing: [new, old] everywhere, then [new], and a node that
// has the new one alone joins after that.
func TestRotationDropsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.fullOf(t, 5)
		var events []<-chan Event
		for _, m := range meshes {
			events = append(events, m.Events(t.Context()))
		}
		rotate(t, meshes, nextSecret, testSecret)
		rotate(t, meshes, nextSecret)
		time.Sleep(time.Minute)
		wantFull(t, "after the rotation", meshes)
		for _, ch := range events {
			<-ch // the snapshot
			for len(ch) > 0 {
				t.Errorf("a link flapped: %+v", <-ch)
			}
		}
		newcomer := net.listen(t, 5, func(c *Config) { c.Secrets = []string{nextSecret} })
		connect(t, newcomer, meshes[0])
	})
}

// TestAStolenSecretIsEvicted: whoever holds the old one alone is out within 10
// seconds, and stays out.
func TestAStolenSecretIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		meshes := net.fullOf(t, 6)
		thief, rest := meshes[5], meshes[:5]
		events := rest[0].Events(t.Context())
		rotate(t, rest, nextSecret, testSecret)
		wantFull(t, "while the old one is good", meshes)
		for _, m := range rest {
			if err := m.SetSecrets([]string{nextSecret}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		wantFull(t, "in the time that is given", meshes)
		time.Sleep(proveWithin + time.Second)
		wantFull(t, "without the thief", rest)
		if n := peerCount(thief); n != 0 {
			t.Errorf("the thief still has %d peers", n)
		}
		if down := nextDown(t, events); down.Reason != ReasonSecret || down.Peer.Node != thief.Self() {
			t.Errorf("down: %+v, want reason %s", down, ReasonSecret)
		}
		time.Sleep(time.Hour)
		wantFull(t, "an hour later", rest)
	})
}

// TestALateSecretIsInTime: a node that gets the new secret within the 10 seconds
// loses no link.
func TestALateSecretIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meshes := newFakeNet().fullOf(t, 3)
		late, rest := meshes[0], meshes[1:]
		events := late.Events(t.Context())
		for _, m := range rest {
			if err := m.SetSecrets([]string{nextSecret}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(proveWithin - 2*time.Second)
		if err := late.SetSecrets([]string{nextSecret}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantFull(t, "after that", meshes)
		for <-events; len(events) > 0; {
			t.Errorf("a link flapped: %+v", <-events)
		}
	})
}

func TestSetSecretsRefuses(t *testing.T) {
	m := listen(t, nil)
	tests := []struct {
		name    string
		secrets []string
		want    string
	}{
		{"none", nil, "SetSecrets has 0 secrets; want 1 to 16"},
		{"short", []string{nextSecret, "short"}, "SetSecrets[1] has 5 bytes; want at least 16"},
		{"weak", []string{strings.Repeat("a", 32)}, "SetSecrets[0] has 1 different bytes; want at least 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := m.SetSecrets(tt.secrets); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	connect(t, m, listen(t, nil)) // the old one is good still
	if err := listen(t, insecurely).SetSecrets([]string{nextSecret}); err == nil || !strings.Contains(err.Error(), "without Config.Secrets") {
		t.Errorf("without secrets: %v", err)
	}
}

// TestAnUnaskedReproofIsNothing: nobody can prove what nobody asked for.
func TestAnUnaskedReproofIsNothing(t *testing.T) {
	a, b := listen(t, nil), listen(t, nil)
	connect(t, a, b)
	l := b.peers[a.self.instance].active
	forged := reproof(l.key, l.peerRole(), l.ekm, nil)
	b.provedAgain(l, forged)
	if err := b.SetSecrets([]string{nextSecret}); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	open := l.nonce != nil
	b.mu.Unlock()
	b.provedAgain(l, forged)
	reflected := reproof(b.prover.Load().keys[0], l.role(), l.ekm, l.nonce)
	b.provedAgain(l, reflected)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !open || l.nonce == nil || l.unproved.IsZero() {
		t.Error("a proof that is forged or reflected is taken")
	}
}

// TestASecretThatGoesDuringAHandshake: the link is admitted with it, and has to
// prove itself again at once; each challenge is another.
func TestASecretThatGoesDuringAHandshake(t *testing.T) {
	m := listen(t, nil)
	old := m.prover.Load().keys[0]
	if err := m.SetSecrets([]string{nextSecret}); err != nil {
		t.Fatal(err)
	}
	var nonces [][]byte
	for i := range byte(2) {
		conn, other := net.Pipe()
		defer other.Close()
		l, err := m.newLink(&session{conn: conn, key: old, ekm: make([]byte, 32)}, linkID{i + 1}, true)
		if err != nil {
			t.Fatal(err)
		}
		h := &hello{instance: instance(int(i) + 1), node: transport.Node(fmt.Sprintf("10.0.0.%d:1", i+1)), addrs: []string{fmt.Sprintf("10.0.0.%d:1", i+1)}}
		if refusal := m.admit(l, h); refusal != nil {
			t.Fatal(refusal)
		}
		m.mu.Lock()
		nonces = append(nonces, l.nonce)
		m.mu.Unlock()
	}
	if len(nonces[0]) != nonceSize || bytes.Equal(nonces[0], nonces[1]) || bytes.Equal(nonces[0], make([]byte, nonceSize)) {
		t.Errorf("the challenges are %x", nonces)
	}
}

// TestSecretsThatChangeDuringAHandshake: the acceptor drops the secret of a proof
// between that and the end of the handshake. The dialler, which has the new one too,
// is asked for it after its welcome, and the link is up.
func TestSecretsThatChangeDuringAHandshake(t *testing.T) {
	ours := newAuthority(t)
	older, newer := NewSecret(), NewSecret()
	var b *Mesh
	b = listen(t, func(c *Config) {
		c.Secrets, c.TLS = []string{newer, older}, ours.config(t, "b")
		c.VerifyPeer = func(tls.ConnectionState, transport.Node) error { return b.SetSecrets([]string{newer}) }
	})
	a := listen(t, func(c *Config) { c.Secrets, c.TLS = []string{older, newer}, ours.config(t, "a") })
	if err := a.Connect(t.Context(), b.Self()); err != nil {
		t.Fatal(err)
	}
}
