package mesh

import (
	"net/netip"
	"testing"
	"time"
)

// A FakeNet is the network in virtual time, for tests of the mesh below a
// supervisor, which package mesh itself can't import.
type FakeNet struct{ net *fakeNet }

// NewFakeNet returns one without hosts.
func NewFakeNet() FakeNet { return FakeNet{newFakeNet()} }

// Listen starts a mesh on the i-th host.
func (f FakeNet) Listen(t *testing.T, i int, change func(*Config)) *Mesh {
	t.Helper()
	return f.net.listen(t, i, change)
}

// Dials is how often the i-th host was dialled since.
func (f FakeNet) Dials(i int, since time.Time) (n int) {
	for _, d := range f.net.dialled(since) {
		if d.to.Addr() == hostIP(i) {
			n++
		}
	}
	return n
}

// HostIP is the address of the i-th host.
func HostIP(i int) netip.Addr { return hostIP(i) }

// Cut cuts two hosts apart, until Heal.
func (f FakeNet) Cut(i, j int) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.net.cut[fakePair(hostIP(i), hostIP(j))] = true
}

// Heal joins all hosts again.
func (f FakeNet) Heal() { f.net.heal() }
