package mesh

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"
)

const (
	exporterLabel = "EXPORTER-cluster-mesh-v1"
	keyInfo       = "cluster mesh proof v1"
	proofSize     = sha256.Size
)

// kind says what a connection is for. It is part of the proof, so that a proof
// for one kind is worth nothing for another.
type kind byte

const (
	kindLink   kind = 'L'
	kindStream kind = 'S'
)

func (k kind) known() bool { return k == kindLink || k == kindStream }

// A prover holds the keys that a node's secrets come to. It is never changed.
type prover struct{ keys [][]byte }

func newProver(secrets []string) (*prover, error) {
	p := &prover{}
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, []byte(s), nil, keyInfo, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("mesh: deriving the key of a secret: %w", err)
		}
		p.keys = append(p.keys, key)
	}
	return p, nil
}

// exportKey returns what binds a proof to its connection: both ends of one TLS
// connection get the same (RFC 8446, section 7.5), and a relay that ends TLS on
// both its sides gets two that differ.
func exportKey(state tls.ConnectionState, k kind) ([]byte, error) {
	return state.ExportKeyingMaterial(exporterLabel, []byte{byte(k)}, proofSize)
}

// accept checks the dialler's proof against every secret, in constant time. It
// returns the acceptor's own proof of the one that matched, and its key; nil if
// none did.
func (p *prover) accept(k kind, ekm, got []byte) (answer, matched []byte) {
	for _, key := range p.keys {
		if hmac.Equal(proof(key, 'D', k, ekm, nil), got) && matched == nil {
			answer, matched = proof(key, 'A', k, ekm, got), key
		}
	}
	return answer, matched
}

// proof binds the direction, the kind and the connection, and in the answer
// the proof that it answers, so that none can be reflected or carried over.
func proof(key []byte, direction byte, k kind, ekm, answered []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte{direction, byte(k)})
	mac.Write(ekm)
	mac.Write(answered)
	return mac.Sum(nil)
}

// openProof shows that who opens a stream holds an end of the link that it names,
// whose other end alone has the same to export. Zero in an insecure mesh.
func openProof(link, stream []byte) []byte {
	if link == nil {
		return make([]byte, proofSize)
	}
	mac := hmac.New(sha256.New, link)
	mac.Write([]byte{'O', byte(kindStream)})
	mac.Write(stream)
	return mac.Sum(nil)
}

// reproof proves a secret again over a link that exists, to whoever chose the
// nonce. role is the side that proves.
func reproof(key []byte, role byte, ekm, nonce []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte{'R', role, byte(kindLink)})
	mac.Write(ekm)
	mac.Write(nonce)
	return mac.Sum(nil)
}

// has reports whether a key is of one of the secrets.
func (p *prover) has(key []byte) bool {
	return slices.ContainsFunc(p.keys, func(k []byte) bool { return hmac.Equal(k, key) })
}
