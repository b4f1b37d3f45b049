package mesh

import (
	"encoding/binary"
	"fmt"
)

// A letter is what this node sends to a subject: a message, a request, or the
// reply to one.
type letter struct {
	t       frameType
	id      uint64 // of the request; messages have none
	status  status // of a reply
	subject string // of a reply, too: subjects take turns
	data    []byte
}

// A status says how a request went.
type status byte

const (
	statusOK         status = 0 // the data are the reply
	statusError      status = 1 // the data are the error's text
	statusNoHandler  status = 2 // nobody responds to that subject
	statusOverloaded status = 3 // too many requests wait
	statusPanicked   status = 4 // the responder panicked
	statusTooLarge   status = 5 // the reply is too large
)

const (
	idSize       = 8
	largeHead    = 4 + 1 + 4 // of a large frame: number, type, length
	partHead     = 4         // of a part frame: number
	maxErrorText = 1 << 10
)

func (l *letter) size() int {
	switch l.t {
	case frameRequest:
		return idSize + 1 + len(l.subject) + len(l.data)
	case frameReply:
		return idSize + 1 + len(l.data)
	default:
		return 1 + len(l.subject) + len(l.data)
	}
}

// large reports whether it has to go in parts.
func (l *letter) large() bool { return l.size() > maxWhole }

// appendHead appends what stands before the data.
func (l *letter) appendHead(b []byte) []byte {
	if l.t != frameMessage {
		b = binary.BigEndian.AppendUint64(b, l.id)
	}
	if l.t == frameReply {
		return append(b, byte(l.status))
	}
	b = append(b, byte(len(l.subject)))
	return append(b, l.subject...)
}

// append appends the whole frame.
func (l *letter) append(b []byte) []byte {
	b = appendHeader(b, l.t, l.size())
	return append(l.appendHead(b), l.data...)
}

func decodeRequest(payload []byte) (id uint64, subject, data []byte, err error) {
	if len(payload) < idSize {
		return 0, nil, nil, malformed("request", errShort)
	}
	subject, data, err = decodeMessage(payload[idSize:])
	return binary.BigEndian.Uint64(payload), subject, data, err
}

func decodeReply(payload []byte) (id uint64, s status, data []byte, err error) {
	if len(payload) < idSize+1 {
		return 0, 0, nil, malformed("reply", errShort)
	}
	return binary.BigEndian.Uint64(payload), status(payload[idSize]), payload[idSize+1:], nil
}

func encodeLarge(number uint32, t frameType, length int) []byte {
	b := binary.BigEndian.AppendUint32(nil, number)
	b = append(b, byte(t))
	return binary.BigEndian.AppendUint32(b, uint32(length))
}

func decodeLarge(payload []byte) (number uint32, t frameType, length int, err error) {
	if len(payload) != largeHead {
		return 0, 0, 0, fmt.Errorf("%w: large: %d bytes, want %d", errMalformed, len(payload), largeHead)
	}
	number, t = binary.BigEndian.Uint32(payload), frameType(payload[4])
	length = int(binary.BigEndian.Uint32(payload[5:]))
	most, ok := mostOf(t)
	if !ok || length <= maxWhole || length > most {
		return 0, 0, 0, fmt.Errorf("%w: large: type %d with %d bytes", errMalformed, t, length)
	}
	return number, t, length, nil
}

// mostOf is how long the payload of what goes in parts may ever be.
func mostOf(t frameType) (most int, ok bool) {
	switch t {
	case frameMessage:
		return 1 + maxSubject + maxMessageLimit, true
	case frameRequest:
		return idSize + 1 + maxSubject + maxMessageLimit, true
	case frameReply:
		return idSize + 1 + maxMessageLimit, true
	default:
		return 0, false
	}
}
