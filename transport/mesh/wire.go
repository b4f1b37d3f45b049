package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/libcluster-go/cluster/transport"
)

// A frame is a header of 6 bytes (type, flags, length of the payload, big
// endian) and a payload. Types that a node doesn't know are skipped, so that
// newer nodes can say more.
type frameType byte

const (
	frameProof     frameType = 1  // dialler: kind, proof
	frameAnswer    frameType = 2  // acceptor: proof, hello
	frameHello     frameType = 3  // dialler: link ID, hello
	frameWelcome   frameType = 4  // acceptor: nothing
	frameRefuse    frameType = 5  // either, before the link is up: code, sentence
	frameBegin     frameType = 6  // messages follow here from now on: ID of the link before, turn
	frameLast      frameType = 7  // no frame follows on this link
	framePing      frameType = 8  // 8 bytes
	framePong      frameType = 9  // the 8 bytes of the ping
	frameClose     frameType = 10 // code, sentence
	framePeers     frameType = 11 // whom the sender is linked with, or isn't any more
	frameChallenge frameType = 12 // prove a secret again: a nonce
	frameReproof   frameType = 13 // the answer: a proof of each secret
	frameOpen      frameType = 14 // dialler of a stream: see an opening
	frameMessage   frameType = 16 // length of the subject, subject, data
	frameRequest   frameType = 17 // ID, and what a message has
	frameReply     frameType = 18 // ID of the request, status, data
	frameLarge     frameType = 19 // one of the three above follows in parts: number, type, length
	framePart      frameType = 20 // number, the next bytes; none: the rest won't come
	frameDigest    frameType = 24 // of the instances that the sender is linked with, and its own
	frameMeta      frameType = 25 // the sender's metadata, which have changed since its hello
)

const (
	headerSize  = 6
	maxHello    = 32 << 10
	maxRefuse   = 1 << 10
	pingSize    = 8
	beginSize   = 16
	openSize    = 16 + 16 + 8 + proofSize
	protocolMin = 1
	protocolMax = 1

	featurePeers  = 1 << 0 // of hello: takes peers frames
	featureDigest = 1 << 1 // takes digest frames, and sends them
	featureMeta   = 1 << 2 // takes meta frames
)

// instanceID is new at every start of a mesh.
type instanceID [16]byte

func (id instanceID) String() string { return fmt.Sprintf("%x", id[:]) }

// less orders the two ends of a pair: the smaller decides which link they use.
func (id instanceID) less(other instanceID) bool { return bytes.Compare(id[:], other[:]) < 0 }

// linkID names one connection of a pair; its dialler makes it. Zero is none.
type linkID [8]byte

// talk reports whether a frame comes between begin and last only.
func (t frameType) talk() bool {
	switch t {
	case framePeers, frameMessage, frameRequest, frameReply, frameLarge, framePart, frameDigest, frameMeta:
		return true
	default:
		return false
	}
}

// fixedSize is the length of the frames that always have the same.
func fixedSize(t frameType) (size int, fixed bool) {
	switch t {
	case frameBegin:
		return beginSize, true
	case framePing, framePong:
		return pingSize, true
	case frameDigest:
		return len(digest{}), true
	case frameChallenge:
		return nonceSize, true
	case frameLarge:
		return largeHead, true
	case frameLast:
		return 0, true
	default:
		return 0, false
	}
}

func encodeBegin(before linkID, turn uint64) []byte {
	return binary.BigEndian.AppendUint64(before[:], turn)
}

func decodeBegin(payload []byte) (before linkID, turn uint64) {
	n := copy(before[:], payload)
	return before, binary.BigEndian.Uint64(payload[n:])
}

// An opening is what an open frame says.
type opening struct {
	from, to instanceID // the dialler's and the acceptor's
	link     linkID     // of theirs, that is up
	proof    [proofSize]byte
	service  string
}

func (o *opening) encode() []byte {
	return slices.Concat(o.from[:], o.to[:], o.link[:], o.proof[:], []byte(o.service))
}

func decodeOpen(payload []byte) *opening {
	var o opening
	n := copy(o.from[:], payload)
	n += copy(o.to[:], payload[n:])
	n += copy(o.link[:], payload[n:])
	n += copy(o.proof[:], payload[n:])
	o.service = string(payload[n:])
	return &o
}

func appendHeader(b []byte, t frameType, length int) []byte {
	b = append(b, byte(t), 0)
	return binary.BigEndian.AppendUint32(b, uint32(length))
}

func appendFrame(b []byte, t frameType, payload ...[]byte) []byte {
	length := 0
	for _, p := range payload {
		length += len(p)
	}
	b = appendHeader(b, t, length)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// errMalformed is what every decoder's error wraps.
var errMalformed = fmt.Errorf("%w: malformed frame", ErrProtocol)

func malformed(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", errMalformed, what, err)
}

func parseHeader(h [headerSize]byte) (frameType, int) {
	return frameType(h[0]), int(binary.BigEndian.Uint32(h[2:]))
}

// readFrame reads one whole frame of at most limit bytes of payload: for the
// handshake, in which nothing may be skipped.
func readFrame(r io.Reader, limit int) (frameType, []byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	t, length := parseHeader(h)
	if length > limit {
		return 0, nil, fmt.Errorf("%w: type %d with %d bytes, more than %d", errMalformed, t, length, limit)
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return t, payload, nil
}

func decodeMessage(payload []byte) (subject, data []byte, err error) {
	if len(payload) == 0 || payload[0] == 0 || len(payload) < 1+int(payload[0]) {
		return nil, nil, fmt.Errorf("%w: message of %d bytes without a subject", errMalformed, len(payload))
	}
	n := 1 + int(payload[0])
	return payload[1:n], payload[n:], nil
}

func encodeReason(code Code, reason string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	return append(b, reason[:min(len(reason), maxRefuse-2)]...)
}

func decodeReason(payload []byte) (Code, string, error) {
	if len(payload) < 2 || len(payload) > maxRefuse {
		return 0, "", fmt.Errorf("%w: reason of %d bytes", errMalformed, len(payload))
	}
	return Code(binary.BigEndian.Uint16(payload)), string(bytes.ToValidUTF8(payload[2:], []byte("?"))), nil
}

// A hello is what each side of a link tells of itself after its proof.
type hello struct {
	min, max uint16 // protocol versions
	features uint64
	cluster  string
	node     transport.Node
	addrs    []string // of node, and further ones
	instance instanceID
	meta     map[string]string
}

// encode lays a hello out: numbers big endian, strings with a length of 2
// bytes, lists with a count of 2 bytes. What a newer version appends is skipped
// by an older one.
func (h *hello) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, h.min)
	b = binary.BigEndian.AppendUint16(b, h.max)
	b = binary.BigEndian.AppendUint64(b, h.features)
	b = append(b, h.instance[:]...)
	b = appendString(b, h.cluster)
	b = appendString(b, string(h.node))
	b = appendStrings(b, h.addrs)
	return appendMeta(b, h.meta)
}

func appendMeta(b []byte, meta map[string]string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(meta)))
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		b = appendString(b, k)
		b = appendString(b, meta[k])
	}
	return b
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func decodeHello(payload []byte) (*hello, error) {
	d := decoder{what: "hello", rest: payload}
	h := &hello{min: d.uint16(), max: d.uint16(), features: d.uint64()}
	copy(h.instance[:], d.bytes(len(h.instance)))
	h.cluster = d.string()
	node := d.string()
	h.addrs = d.strings(maxAddrs)
	h.meta = d.meta()
	if d.err != nil {
		return nil, d.err
	}
	return h, h.check(node)
}

// decodeMeta reads a meta frame. What a newer version appends is skipped.
func decodeMeta(payload []byte) (map[string]string, error) {
	d := decoder{what: "meta", rest: payload}
	meta := d.meta()
	return meta, d.err
}

// nodes are the node by each of its addresses.
func (h *hello) nodes() []transport.Node {
	nodes := []transport.Node{h.node}
	for _, a := range h.addrs {
		n := transport.Node(a)
		if name := h.node.Name(); name != "" {
			n = transport.Node(name + "@" + a)
		}
		if n != h.node {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// sameNode reports whether two hellos of one instance are of one node: a member
// that says another's instance, which all know, doesn't get its messages.
func (h *hello) sameNode(other *hello) bool {
	return h.node == other.node && slices.Equal(h.addrs, other.addrs)
}

// check canonicalises the addresses, so that nothing that a peer says is
// compared or logged in a form of its own.
func (h *hello) check(node string) error {
	var err error
	if h.node, err = transport.ParseNode(node); err != nil {
		return malformed("hello", err)
	}
	for i, a := range h.addrs {
		n, err := transport.ParseNode(a)
		if err != nil {
			return malformed("hello", err)
		}
		h.addrs[i] = n.Addr()
	}
	if !slices.Contains(h.addrs, h.node.Addr()) {
		h.addrs = append([]string{h.node.Addr()}, h.addrs...)
	}
	if len(h.addrs) > maxAddrs {
		return malformed("hello", fmt.Errorf("%d addresses with the node's own, more than %d", len(h.addrs), maxAddrs))
	}
	if h.min > h.max || h.instance == (instanceID{}) {
		return fmt.Errorf("%w: hello: versions %d to %d, instance %s", errMalformed, h.min, h.max, h.instance)
	}
	return nil
}

// A decoder takes values off the front of rest; after a failure all that
// follow are zero.
type decoder struct {
	what string
	rest []byte
	err  error
}

var errShort = errors.New("ends in the middle")

func (d *decoder) bytes(n int) []byte {
	if d.err == nil && len(d.rest) < n {
		d.err = malformed(d.what, errShort)
	}
	if d.err != nil {
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.bytes(2)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.bytes(8)) }

func (d *decoder) string() string { return string(d.block()) }

// block is what follows its own length.
func (d *decoder) block() []byte {
	n := int(d.uint16())
	if n > len(d.rest) {
		n = len(d.rest) + 1 // fails in bytes, without a large allocation
	}
	return d.bytes(n)
}

func (d *decoder) strings(limit int) (list []string) {
	for range d.count(limit) {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) meta() map[string]string {
	meta := map[string]string{}
	for range d.count(maxMeta / 4) {
		k := d.string()
		meta[k] = d.string()
	}
	return meta
}

func (d *decoder) count(limit int) int {
	n := int(d.uint16())
	if d.err == nil && n > limit {
		d.err = malformed(d.what, fmt.Errorf("a list of %d, more than %d", n, limit))
	}
	if d.err != nil {
		return 0
	}
	return n
}
