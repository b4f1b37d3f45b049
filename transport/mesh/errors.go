package mesh

import (
	"errors"
	"fmt"

	"github.com/libcluster-go/cluster/transport"
)

// What the mesh's methods return, mostly inside of a [NodeError].
var (
	// ErrClosed says that the mesh was closed.
	ErrClosed = errors.New("mesh: closed")
	// ErrNoNode says that no link with that node is up. It is ErrDown as well if one
	// was, and has not been given up since.
	ErrNoNode = errors.New("mesh: no link with that node")
	// ErrDown says that the link went down before the call was done. A request
	// may have been handled or not.
	ErrDown = errors.New("mesh: the link went down")
	// ErrQueueFull says that Config.SendQueue was full until the call's context
	// was done.
	ErrQueueFull = errors.New("mesh: the node's send queue is full")
	// ErrOverloaded says that a node had no room for a request, or this one none
	// for the reply: Config.MaxRequests, ReceiveQueue or ReceiveLarge was reached.
	ErrOverloaded = errors.New("mesh: the node is overloaded")
	// ErrNoHandler says that the node has no responder for a request's subject.
	ErrNoHandler = errors.New("mesh: the node has no responder for that subject")
	// ErrPanicked says that the responder panicked, which its node has logged.
	ErrPanicked = errors.New("mesh: the responder panicked")
	// ErrTooLarge says that a message is larger than Config.MaxMessage, here or
	// on the other node, or that a reply is.
	ErrTooLarge = errors.New("mesh: message too large")
	// ErrSubject says that a subject is empty or too long.
	ErrSubject = errors.New("mesh: bad subject")
	// ErrProof says that the two nodes have no secret in common, or that one
	// of them isn't a node at all.
	ErrProof = errors.New("mesh: the proofs of the secret don't match")
	// ErrProtocol says that the other end doesn't speak this protocol.
	ErrProtocol = errors.New("mesh: the other end doesn't speak this protocol")
	// ErrHandshakeTime says that a handshake took longer than
	// Config.HandshakeTimeout.
	ErrHandshakeTime = errors.New("mesh: the handshake took too long")
	// ErrHungUp says that the other end ended the connection during the handshake,
	// as one does that has as many under way as its Config.MaxHandshakes allows,
	// or that is no node.
	ErrHungUp = errors.New("mesh: the other end hung up during the handshake")
	// ErrNotAllowed says that Config.AllowAddr refused an address that a peer named.
	ErrNotAllowed = errors.New("mesh: Config.AllowAddr refused the address")
	// ErrServiceTaken says that somebody listens for the service already.
	ErrServiceTaken = errors.New("mesh: the service is listened for already")
	// ErrHandlerBusy says that Close didn't wait any longer for a handler, or for
	// one of Config's funcs.
	ErrHandlerBusy = errors.New("mesh: a handler has not returned")
)

// A NodeError tells which operation failed with which node.
type NodeError struct {
	// Op is "connect", "disconnect", "send", "request" or "dial"; of a stream,
	// "read" or "write".
	Op string
	// Node is the node as the caller named it; of a stream, as it names itself.
	Node transport.Node
	// Err is the cause.
	Err error
}

func (e *NodeError) Error() string {
	return fmt.Sprintf("mesh: %s %s: %v", e.Op, e.Node, e.Err)
}

// Unwrap returns the cause.
func (e *NodeError) Unwrap() error { return e.Err }

// A RemoteError is the error with which another node's responder answered a
// request.
type RemoteError struct {
	// Text is the error's text: at most 1 KiB of it.
	Text string
}

func (e *RemoteError) Error() string { return "mesh: the responder failed: " + e.Text }

// A Code says why a node refused or closed a link, or refused a stream.
type Code uint16

// The codes of the wire. A code that isn't listed comes from a newer node.
const (
	CodeNone            Code = 0  // no reason is given: the proof failed
	CodeProtocol        Code = 1  // no protocol version in common
	CodeCluster         Code = 2  // another cluster's name
	CodeSelf            Code = 3  // dialled itself
	CodeAddressConflict Code = 4  // another live node has that address
	CodeUnwanted        Code = 5  // disconnected on purpose
	CodeDuplicate       Code = 6  // linked already
	CodeLeft            Code = 7  // the node leaves
	CodeMalformed       Code = 8  // a frame that can't be
	CodeSilent          Code = 9  // nothing was heard for Config.DownAfter
	CodeTLS             Code = 10 // the certificate was refused
	CodeFull            Code = 11 // Config.MaxPeers is reached
	CodeSecret          Code = 12 // not proved again after SetSecrets
	CodeNoService       Code = 13 // nobody listens for that service
	CodeNoLink          Code = 14 // a stream without a link
	CodeOtherInstance   Code = 15 // a stream to an instance that isn't there any more
	CodeOverloaded      Code = 16 // too many streams wait to be accepted
)

func (c Code) String() string {
	names := [...]string{
		"none", "protocol", "cluster", "self", "address_conflict", "unwanted",
		"duplicate", "left", "malformed", "silent", "tls", "full", "secret",
		"no_service", "no_link", "other_instance", "overloaded",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code_%d", uint16(c))
}

// A RefusedError is a link or a stream that a node refused after both had proved
// themselves.
type RefusedError struct {
	// Code is the reason for programs.
	Code Code
	// Reason is the sentence for people.
	Reason string
	// ByPeer is true when the other node refused, false when this one did.
	ByPeer bool
}

func (e *RefusedError) Error() string {
	by := "this node"
	if e.ByPeer {
		by = "the peer"
	}
	return fmt.Sprintf("mesh: %s refused (%s): %s", by, e.Code, e.Reason)
}

// Is lets errors.Is find the transport's sentinels that a code stands for.
func (e *RefusedError) Is(target error) bool {
	return e.Code == CodeUnwanted && target == transport.ErrUnwanted ||
		e.Code == CodeSelf && target == transport.ErrSelf
}

func checkSubject(subject string) error {
	if subject == "" || len(subject) > maxSubject {
		return fmt.Errorf("%w: %q has %d bytes; want 1 to %d", ErrSubject, subject, len(subject), maxSubject)
	}
	return nil
}
