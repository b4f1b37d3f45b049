package mesh

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
)

const (
	exporterLabel = "EXPORTER-cluster-mesh-v1"
	keyInfo       = "cluster mesh proof v1"
	proofSize     = sha256.Size

	minSecret         = 16
	minDistinctSecret = 8
)

// kind says what a connection is for. It is part of the proof, so that a proof
// for one kind is worth nothing for another.
type kind byte

const kindLink kind = 'L'

// checkSecret refuses what could be guessed offline by an impostor that was
// dialled: its error continues "Config.Secrets[0] …" and doesn't show the
// secret.
func checkSecret(s string) error {
	if len(s) < minSecret {
		return fmt.Errorf("has %d bytes; want at least %d", len(s), minSecret)
	}
	distinct := map[byte]bool{}
	for i := range len(s) {
		distinct[s[i]] = true
	}
	if len(distinct) < minDistinctSecret {
		return fmt.Errorf("has %d different bytes; want at least %d", len(distinct), minDistinctSecret)
	}
	return nil
}

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

// dial is what the dialler sends: its proof of the i-th secret.
func (p *prover) dial(i int, k kind, ekm []byte) []byte {
	return proof(p.keys[i], 'D', k, ekm, nil)
}

// accept checks the dialler's proof against every secret, in constant time,
// and returns the acceptor's own proof of the one that matched.
func (p *prover) accept(k kind, ekm, got []byte) (answer []byte, ok bool) {
	for _, key := range p.keys {
		if hmac.Equal(proof(key, 'D', k, ekm, nil), got) && !ok {
			answer, ok = proof(key, 'A', k, ekm, got), true
		}
	}
	return answer, ok
}

// confirm is the dialler's check of the acceptor's answer.
func (p *prover) confirm(i int, k kind, ekm, sent, answer []byte) bool {
	return hmac.Equal(proof(p.keys[i], 'A', k, ekm, sent), answer)
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
