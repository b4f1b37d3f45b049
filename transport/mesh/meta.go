package mesh

import (
	"fmt"
	"maps"
)

// SetMeta replaces Config.Meta while the mesh runs, under the same rules. Peers
// that are linked see it within about a second, each in a [PeerChanged]; of several
// calls in that time they see the last. Those that link later see it from the
// start. Peers of a version that doesn't know of this see it with their next link.
// Its error says what is too large, or is [ErrClosed]; nothing is changed then.
func (m *Mesh) SetMeta(meta map[string]string) error {
	if err := checkMeta("SetMeta", meta); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ErrClosed
	case maps.Equal(m.meta, meta):
		return nil
	}
	m.meta = maps.Clone(meta)
	m.metaSet, m.metaDue = true, true
	wake(m.hasNews)
	return nil
}

func checkMeta(what string, meta map[string]string) error {
	size := 0
	for k, v := range meta {
		size += len(k) + len(v) + 4
	}
	if size > maxMeta {
		return fmt.Errorf("mesh: %s has %d bytes; want at most %d", what, size, maxMeta)
	}
	return nil
}

// hello is what this node tells of itself now.
func (m *Mesh) hello() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := *m.self
	h.meta = m.meta
	return h.encode()
}

// tellOfSelf tells a peer of this node on a link that begins: what has changed
// since the handshake, or was told on a link that is gone and may be lost. The
// caller holds mu.
func (m *Mesh) tellOfSelf(p *peer, l *link) {
	p.ledger = ledger{digest: p.digest, tells: p.tells, differs: m.elapsed()}
	if p.up && p.exchanges() {
		p.orderAll(encodeClaims(m.parted))
	}
	switch {
	case !p.compares():
		m.tellLinks(p)
	case p.up: // otherwise it is news for all that this peer is up
		p.tellDigest(m.accord.own)
	}
	if m.metaSet && p.takesMeta() {
		l.out.order(frameMeta, appendMeta(nil, m.meta))
	}
}

func (p *peer) takesMeta() bool { return p.hello.features&featureMeta != 0 }

// metaReceived takes a peer's metadata. It is called by the reader of a link.
func (m *Mesh) metaReceived(p *peer, payload []byte) error {
	meta, err := decodeMeta(payload)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.Equal(p.meta, meta) {
		return nil
	}
	p.meta = meta
	if p.up {
		info := p.snapshot()
		m.events.Publish(func() { m.told[p.hello.instance] = info }, PeerChanged{Peer: info})
	}
	return nil
}
