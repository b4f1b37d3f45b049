package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const (
	keyInfo = "cluster gossip v1" // followed by the instance
	keySize = 32                  // AES-256
)

// A keyring holds what the secrets come to (RFC 5869, section 2.2); without any,
// packets are sent in the clear. It is never changed.
type keyring struct{ secrets [][]byte }

func newKeyring(secrets []string) (keyring, error) {
	var k keyring
	for _, s := range secrets {
		prk, err := hkdf.Extract(sha256.New, []byte(s), nil)
		if err != nil {
			return keyring{}, fmt.Errorf("gossip: deriving a key: %w", err)
		}
		k.secrets = append(k.secrets, prk)
	}
	return k, nil
}

// sealers returns what the instance seals its packets with: a key for each
// secret. Without secrets that is one that is nil.
func (k keyring) sealers(i instance) ([]cipher.AEAD, error) {
	if len(k.secrets) == 0 {
		return []cipher.AEAD{nil}, nil
	}
	var keys []cipher.AEAD
	for _, prk := range k.secrets {
		key, err := senderKey(prk, i)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// senderKey derives the key of one sender, under which no counter is used
// twice, since an instance is never the same again.
func senderKey(prk []byte, i instance) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, prk, keyInfo+string(i[:]), keySize)
	if err != nil {
		return nil, fmt.Errorf("gossip: deriving a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("gossip: deriving a key: %w", err)
	}
	return cipher.NewGCM(block)
}

// nonce is the counter, after zeros.
func nonce(counter uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), counter)
}

// seal makes a packet; a nil key leaves it in the clear.
func seal(key cipher.AEAD, i instance, counter uint64, m message) []byte {
	h := header{mode: modeClear, instance: i, counter: counter}
	if key == nil {
		return m.append(h.append(make([]byte, 0, maxPacket)))
	}
	h.mode = modeSealed
	packet := h.append(make([]byte, 0, maxPacket))
	return key.Seal(packet, nonce(counter), m.append(nil), packet)
}

// open checks and reads the body that came after h in packet. known is the key
// of that sender if it was heard before, else nil, and is tried first; the one
// that fits is returned.
func (k keyring) open(packet []byte, h header, known cipher.AEAD) (message, cipher.AEAD, error) {
	head, body := packet[:headerSize], packet[headerSize:]
	if len(k.secrets) == 0 {
		if h.mode != modeClear {
			return message{}, nil, errForged
		}
		m, err := parseMessage(body)
		return m, nil, err
	}
	if h.mode != modeSealed {
		return message{}, nil, errForged
	}
	if known != nil {
		if m, err := unseal(known, head, body, h.counter); err != errForged { //nolint:errorlint // unseal wraps nothing
			return m, known, err
		}
	}
	for _, prk := range k.secrets {
		key, err := senderKey(prk, h.instance)
		if err != nil {
			return message{}, nil, err
		}
		if m, err := unseal(key, head, body, h.counter); err != errForged { //nolint:errorlint // unseal wraps nothing
			return m, key, err
		}
	}
	return message{}, nil, errForged
}

func unseal(key cipher.AEAD, head, body []byte, counter uint64) (message, error) {
	plain, err := key.Open(nil, nonce(counter), body, head)
	if err != nil {
		return message{}, errForged
	}
	return parseMessage(plain)
}
