package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// Port is the port that a mesh listens on when Config.Bind names none.
const Port = 4370

// What Config's fields are when they are zero.
const (
	defaultCluster          = "default"
	defaultHeartbeat        = 5 * time.Second
	defaultDownAfter        = 10 * time.Second
	defaultHandshakeTimeout = 5 * time.Second
	defaultMaxHandshakes    = 512
	defaultMaxPeers         = 4096
	defaultForgetAfter      = 24 * time.Hour
	defaultDivergedAfter    = 30 * time.Second
	defaultMaxMessage       = 16 << 20
	defaultSendQueue        = 64 << 10
	defaultReceiveQueue     = 1 << 20
	defaultReceiveLarge     = 256 << 20
	defaultMaxRequests      = 64
	maxMessageLimit         = 16 << 20
)

// Bounds of a hello's parts, which the wire has too.
const (
	maxClusterName = 255
	maxAddrs       = 16
	maxMeta        = 16 << 10
	maxSubject     = 255
)

// Config sets up a [Mesh]. Only Secrets or TLS (or an explicit Insecure) has to
// be given; every other field has a default that suits a data centre. Listen
// copies what it needs and doesn't change it.
type Config struct {
	// Cluster is the name of the cluster: two nodes of which each has another
	// don't link. At most 255 bytes; empty means "default".
	Cluster string

	// Secrets prove to a peer that a node belongs here, and of the peer that it
	// does. A node shows the first that its peer accepts and accepts them all,
	// so a secret is changed in two steps: [new, old] everywhere, then [new].
	// Each has at least 16 bytes and at least 8 different ones; [NewSecret]
	// makes a good one.
	Secrets []string

	// TLS has the nodes prove themselves by certificates, instead of Secrets or
	// beside them. It is copied, and hardened: TLS 1.3 only, no session tickets,
	// and both sides show a certificate that is verified, by ClientCAs and
	// RootCAs, which both have to be set. A dialler verifies the name that it
	// dialled, or the address, or ServerName if that is set. InsecureSkipVerify
	// needs VerifyConnection, which then decides alone when this node dials, and,
	// without ClientCAs, when it is dialled. To change certificates
	// at run time, use the callbacks GetCertificate, GetClientCertificate and
	// GetConfigForClient; what the last returns is hardened in the same way.
	TLS *tls.Config

	// VerifyPeer ties a certificate to a node: an error refuses the link, and
	// the peer is told its text. Both sides call it for each address that the
	// peer advertises, once it has said who it is, from goroutines of the mesh's
	// own, several at once. Nil means that every certificate that is verified is
	// good for every node. It needs TLS.
	VerifyPeer func(state tls.ConnectionState, n transport.Node) error

	// Insecure makes links without TLS and without a proof: whoever reaches
	// the port is a member and reads all. It can't be set beside Secrets or TLS.
	Insecure bool

	// Bind is the "host:port" to listen on. The host is an IP address, a
	// go-sockaddr template such as {{ GetPrivateIP }}, or empty for all
	// interfaces; port 0 takes a free one. Empty means ":4370".
	Bind string

	// Advertise is where the other nodes reach this one: "host", "host:port",
	// or several of them separated by spaces or commas (dual stack), of which
	// the first names the node. Each may be a go-sockaddr template; a port that
	// is missing is the one that is listened on. Empty means the address of
	// Bind, and if that is all interfaces: the private address that go-sockaddr
	// finds, else the first global unicast address of the default route's
	// interface, else of any.
	Advertise string

	// Name goes before the @ in this node's name. Empty means none.
	Name string

	// Meta is told to every peer, which sees it in [Peer]; SetMeta changes it
	// later. At most 16 KiB with the keys, counting 4 bytes more for each.
	Meta map[string]string

	// Heartbeat is how long a link may be silent before it is pinged. A ping
	// and its answer cost about 80 µs of CPU, so a shorter one costs a node of
	// N that much N times in each. Zero means 5 seconds; at least 10 ms.
	Heartbeat time.Duration

	// DownAfter is how long a link may be silent before it is given up: a
	// shorter one notices a frozen peer sooner, and takes a busy one for frozen
	// more often. Zero means 10 seconds; at least twice Heartbeat.
	DownAfter time.Duration

	// HandshakeTimeout bounds a handshake, from accept or dial until both
	// sides have proved themselves. Zero means 5 seconds.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the connections that have been accepted and haven't
	// proved themselves yet. When it is reached, the oldest of the IPv4 address
	// or IPv6 /64 that has most of them is closed. Besides, the 257th of one of
	// these that comes at once waits, and more so those after it. Zero means
	// 512.
	MaxHandshakes int

	// MaxPeers bounds the peers, and what one peer may name of others. One more
	// is refused with [CodeFull]. It also bounds the peers that are gone while
	// messages of theirs wait for a handler: of one more, what waits is dropped.
	// Zero means 4096.
	MaxPeers int

	// NoPeerExchange leaves it to the callers of Connect to find every node.
	// Otherwise a node tells its peers whom it is linked with, and dials whom
	// they name, so that one node known by all is enough for a full mesh.
	NoPeerExchange bool

	// AllowAddr guards the addresses that are dialled though no caller of
	// Connect named them: those that peers name, and those of peers that got
	// lost. It is called from goroutines of the mesh's own, several at once.
	// Nil allows all.
	AllowAddr func(addr netip.AddrPort) bool

	// ForgetAfter is for how long the mesh itself dials a peer that got lost,
	// unless a caller of Connect does. One that left isn't dialled. Zero means
	// 24 hours; negative means not at all.
	ForgetAfter time.Duration

	// DivergedAfter is for how long this node and its peers may disagree about
	// who is linked with whom before [Diverged] tells of it. While a partition
	// heals, lost peers are dialled at least every 30 seconds. Zero means 30
	// seconds, or twice Heartbeat if that is longer; negative means never, for a
	// mesh in which not all nodes are to be linked; else at least twice Heartbeat.
	DivergedAfter time.Duration

	// MaxMessage is the most bytes that one message, request or reply may have,
	// sent or received. All nodes of a cluster should have the same: one that is
	// sent more than it takes closes the link. Zero means 16 MiB, which is the
	// most.
	MaxMessage int

	// SendQueue is how many bytes may wait to be written to one peer before
	// [Mesh.Send] waits. What has more than about 64 KiB isn't in it: it goes in
	// parts between the others, and its sender waits for the last of them. Zero
	// means 64 KiB.
	SendQueue int

	// ReceiveQueue is how many bytes of messages may wait for the handler of
	// one subject of one peer before further ones are dropped, and how many of
	// requests for the responder before further ones are refused. Each counts 64
	// bytes more than its data; if none waits, one is taken however large it
	// is. Zero means 1 MiB.
	ReceiveQueue int

	// ReceiveLarge is how many bytes of what comes in parts (more than about
	// 64 KiB each) may be held for all peers together, from the first part until
	// the handler has returned. Further ones are dropped; requests and replies
	// fail with [ErrOverloaded]. Besides, one peer may have no more than 48 MiB of
	// them on the way. Zero means 256 MiB; at least twice MaxMessage.
	ReceiveLarge int

	// MaxRequests is how many requests of one peer to one subject are responded
	// to at once; those that a peer has made before it went down and came up again
	// count. Zero means 64.
	MaxRequests int

	// Handlers are in place before the first peer is accepted, by subject, as
	// [Mesh.Handle] would set them later.
	Handlers map[string]Handler

	// Responders are in place as early, as [Mesh.Respond] would set them later.
	Responders map[string]Responder

	// Resolver looks up the hosts of nodes that are names, at every attempt to
	// connect them. Nil means [net.DefaultResolver].
	Resolver Resolver

	// Logger takes what somebody should look into, such as refusals, at level
	// Warn, and the ups and downs of peers at Debug. Its handler is called from
	// a goroutine of the mesh's own. Nil means [slog.Default].
	Logger *slog.Logger
}

// A Resolver looks names up, as a [net.Resolver] does. It is called from any
// goroutine, several at once, and should return soon after ctx is done.
type Resolver interface {
	// LookupNetIP returns the addresses of a host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NewSecret returns a new secret of 32 random bytes in base64, fit for
// Config.Secrets.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// withDefaults returns a copy of c that shares nothing with it, with zero fields
// filled, or an error that names the field, its value, and what would be right.
func withDefaults(c Config) (Config, error) {
	setDefault(&c.Cluster, defaultCluster)
	setDefault(&c.Bind, fmt.Sprintf(":%d", Port))
	setDefault(&c.Heartbeat, defaultHeartbeat)
	setDefault(&c.DownAfter, max(defaultDownAfter, 2*c.Heartbeat))
	setDefault(&c.HandshakeTimeout, defaultHandshakeTimeout)
	setDefault(&c.MaxHandshakes, defaultMaxHandshakes)
	setDefault(&c.MaxPeers, defaultMaxPeers)
	setDefault(&c.ForgetAfter, defaultForgetAfter)
	setDefault(&c.DivergedAfter, max(defaultDivergedAfter, 2*c.Heartbeat))
	setDefault(&c.MaxMessage, defaultMaxMessage)
	setDefault(&c.SendQueue, defaultSendQueue)
	setDefault(&c.ReceiveQueue, defaultReceiveQueue)
	setDefault(&c.ReceiveLarge, defaultReceiveLarge)
	setDefault(&c.MaxRequests, defaultMaxRequests)
	c.Secrets = slices.Clone(c.Secrets)
	c.Meta = maps.Clone(c.Meta)
	c.Handlers = maps.Clone(c.Handlers)
	c.Responders = maps.Clone(c.Responders)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	return c, errors.Join(c.checkSecurity(), c.checkNames(), c.checkNumbers())
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) checkSecurity() error {
	switch {
	case c.Insecure && len(c.Secrets) > 0:
		return fmt.Errorf("mesh: Config.Insecure is true and Config.Secrets has %d: set one of the two", len(c.Secrets))
	case c.Insecure && c.TLS != nil:
		return errors.New("mesh: Config.Insecure is true and Config.TLS is set: set one of the two")
	case !c.Insecure && len(c.Secrets) == 0 && c.TLS == nil:
		return errors.New("mesh: Config.Secrets is empty: give every node the same secret (mesh.NewSecret makes one), or set Config.TLS, or Config.Insecure for a mesh that anyone may join")
	case c.VerifyPeer != nil && c.TLS == nil:
		return errors.New("mesh: Config.VerifyPeer is set and Config.TLS is not, so that there are no certificates to verify: set TLS, too")
	}
	if c.TLS != nil {
		if err := checkTLS(c.TLS); err != nil {
			return fmt.Errorf("mesh: Config.TLS%w", err)
		}
	}
	if len(c.Secrets) == 0 {
		return nil
	}
	return checkSecrets("Config.Secrets", c.Secrets)
}

func (c *Config) checkNames() error {
	if len(c.Cluster) > maxClusterName {
		return fmt.Errorf("mesh: Config.Cluster has %d bytes; want at most %d", len(c.Cluster), maxClusterName)
	}
	if err := checkMeta("Config.Meta", c.Meta); err != nil {
		return err
	}
	for subject, h := range c.Handlers {
		if err := checkSubject(subject); err != nil {
			return fmt.Errorf("mesh: Config.Handlers: %w", err)
		}
		if h == nil {
			return fmt.Errorf("mesh: Config.Handlers[%q] is nil; want a func", subject)
		}
	}
	for subject, r := range c.Responders {
		if err := checkSubject(subject); err != nil {
			return fmt.Errorf("mesh: Config.Responders: %w", err)
		}
		if r == nil {
			return fmt.Errorf("mesh: Config.Responders[%q] is nil; want a func", subject)
		}
	}
	return nil
}

func (c *Config) checkNumbers() error {
	atLeast := func(field string, got, least any, ok bool) error {
		if ok {
			return nil
		}
		return fmt.Errorf("mesh: Config.%s is %v; want at least %v, or zero for the default", field, got, least)
	}
	var most error
	if c.MaxMessage > maxMessageLimit {
		most = fmt.Errorf("mesh: Config.MaxMessage is %d; want at most %d", c.MaxMessage, maxMessageLimit)
	}
	const least = 10 * time.Millisecond
	return errors.Join(
		atLeast("Heartbeat", c.Heartbeat, least, c.Heartbeat >= least),
		atLeast("DownAfter", c.DownAfter, 2*c.Heartbeat, c.DownAfter >= 2*c.Heartbeat),
		atLeast("DivergedAfter", c.DivergedAfter, 2*c.Heartbeat, c.DivergedAfter < 0 || c.DivergedAfter >= 2*c.Heartbeat),
		atLeast("HandshakeTimeout", c.HandshakeTimeout, least, c.HandshakeTimeout >= least),
		atLeast("MaxHandshakes", c.MaxHandshakes, 1, c.MaxHandshakes >= 1),
		atLeast("MaxPeers", c.MaxPeers, 1, c.MaxPeers >= 1),
		atLeast("MaxMessage", c.MaxMessage, 1, c.MaxMessage >= 1),
		atLeast("SendQueue", c.SendQueue, 1, c.SendQueue >= 1),
		atLeast("ReceiveQueue", c.ReceiveQueue, 1, c.ReceiveQueue >= 1),
		atLeast("ReceiveLarge", c.ReceiveLarge, 2*c.MaxMessage, c.ReceiveLarge >= 2*c.MaxMessage),
		atLeast("MaxRequests", c.MaxRequests, 1, c.MaxRequests >= 1),
		most,
	)
}
