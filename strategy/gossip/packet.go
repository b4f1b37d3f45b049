package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport"
)

// The bounds of a packet. FORMAT.md says how it is laid out.
const (
	// maxPacket is what fits into the smallest frame that IPv6 allows (RFC
	// 8200, section 5), and so into every Ethernet frame, tunnels included: 1280
	// bytes less 40 of IPv6 and 8 of UDP.
	maxPacket = 1232

	headerSize  = len(magic) + 1 + 1 + 16 + 8
	tagSize     = 16
	maxBody     = maxPacket - headerSize - tagSize
	mentionSize = 1 + 16 + 4
	minMentions = 8 // that fit beside the longest introduction that is sent

	maxCluster = 255
	maxNodes   = 16
)

const (
	magic   = "clg"
	version = 1
)

// A mode says how the body is sent.
type mode byte

const (
	modeSealed mode = 'S'
	modeClear  mode = 'C'
)

// What is wrong with a packet that is dropped.
var (
	errMalformed = errors.New("gossip: the packet is not one of this format")
	errForged    = errors.New("gossip: the packet was made without our secret, or changed")
	errForeign   = errors.New("gossip: the packet is of another cluster")
	errRepeated  = errors.New("gossip: the packet was heard before, or is too old")
)

// An instance is one run of one node: random, and new at every start.
type instance [16]byte

// A header goes before the body, in the clear.
type header struct {
	mode     mode
	instance instance
	counter  uint64 // of this instance's packets, from 1; also the nonce
}

// append writes the header.
func (h header) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, version, byte(h.mode))
	b = append(b, h.instance[:]...)
	return binary.BigEndian.AppendUint64(b, h.counter)
}

// parseHeader does the cheap checks: of length, format, version and mode.
func parseHeader(packet []byte) (h header, err error) {
	if len(packet) < headerSize || len(packet) > maxPacket || string(packet[:len(magic)]) != magic {
		return header{}, errMalformed
	}
	rest := packet[len(magic):]
	h.mode = mode(rest[1])
	if rest[0] != version || h.mode != modeSealed && h.mode != modeClear {
		return header{}, errMalformed
	}
	copy(h.instance[:], rest[2:])
	h.counter = binary.BigEndian.Uint64(rest[2+len(h.instance):])
	if h.counter == 0 {
		return header{}, errMalformed
	}
	return h, nil
}

// A message is the body of a packet.
type message struct {
	leaving bool
	period  uint32 // of the sender, from 1
	cluster string
	nodes   []cluster.Node // the node, then further addresses of the same
	heard   []mention
}

// A mention tells an instance that it was heard, and in which of its periods.
type mention struct {
	instance instance
	period   uint32
	asks     bool // and hasn't mentioned the sender yet
}

const (
	flagLeaving = 1 << 0 // of a message
	flagAsks    = 1 << 0 // of a mention
)

// append writes the message, of which it takes as many mentions as fit.
func (m message) append(b []byte) []byte {
	start := len(b)
	b = append(b, bit(m.leaving, flagLeaving))
	b = binary.BigEndian.AppendUint32(b, m.period)
	b = append(b, byte(len(m.cluster)))
	b = append(b, m.cluster...)
	b = append(b, byte(len(m.nodes)))
	for _, n := range m.nodes {
		b = binary.BigEndian.AppendUint16(b, uint16(len(n)))
		b = append(b, n...)
	}
	fit := max(0, (maxBody-(len(b)-start)-1)/mentionSize)
	heard := m.heard[:min(len(m.heard), fit)]
	b = append(b, byte(len(heard)))
	for _, h := range heard {
		b = append(b, bit(h.asks, flagAsks))
		b = append(b, h.instance[:]...)
		b = binary.BigEndian.AppendUint32(b, h.period)
	}
	return b
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// mentions returns how many fit into a packet beside the rest of the message;
// negative if even the rest doesn't.
func (m message) mentions() int {
	m.heard = nil
	return (maxBody - len(m.append(nil))) / mentionSize
}

// check says whether the message can be sent.
func (m message) check() error {
	switch {
	case m.cluster == "" || len(m.cluster) > maxCluster:
		return fmt.Errorf("gossip: Cluster has %d bytes; want 1 to %d", len(m.cluster), maxCluster)
	case len(m.nodes) > maxNodes:
		return fmt.Errorf("gossip: Advertise has %d nodes; want at most %d", len(m.nodes), maxNodes)
	case m.mentions() < minMentions:
		return fmt.Errorf("gossip: Cluster and the advertised nodes take %d bytes, too many for a packet; want shorter or fewer ones", len(m.append(nil)))
	}
	return nil
}

// parseMessage reads a body. Bytes after it are left to later versions.
func parseMessage(body []byte) (message, error) {
	r := reader{rest: body}
	m := message{leaving: r.byte()&flagLeaving != 0, period: r.uint32(), cluster: string(r.bytes(int(r.byte())))}
	n := int(r.byte())
	if m.cluster == "" || n == 0 || n > maxNodes {
		return message{}, errMalformed
	}
	for range n {
		node, err := transport.ParseNode(string(r.bytes(int(r.uint16()))))
		if err != nil {
			return message{}, errMalformed
		}
		m.nodes = append(m.nodes, node)
	}
	for range int(r.byte()) {
		h := mention{asks: r.byte()&flagAsks != 0}
		copy(h.instance[:], r.bytes(len(h.instance)))
		h.period = r.uint32()
		if r.short {
			break
		}
		m.heard = append(m.heard, h)
	}
	if r.short {
		return message{}, errMalformed
	}
	return m, nil
}

// A reader takes a body apart. Once it is short, all it reads is zero.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
