package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libcluster-go/cluster/internal/feed"
	"github.com/libcluster-go/cluster/internal/logqueue"
	"github.com/libcluster-go/cluster/internal/signal"
	"github.com/libcluster-go/cluster/transport"
)

const (
	alpn       = "cluster-mesh/1"
	eventQueue = 256

	// handlerTimeout is how long Close waits for the user's handlers.
	handlerTimeout = 5 * time.Second
)

// The mesh is a transport with all companions.
var (
	_ transport.Transport     = (*Mesh)(nil)
	_ transport.Canonicalizer = (*Mesh)(nil)
	_ transport.Notifier      = (*Mesh)(nil)
	_ transport.Departer      = (*Mesh)(nil)
	_ transport.Forgetter     = (*Mesh)(nil)
	_ transport.Agreer        = (*Mesh)(nil)
)

// A Mesh is this node's end of the links with all others. Make one with
// [Listen]; its methods may be called from any goroutine, handlers included.
type Mesh struct {
	cfg      Config
	network  network
	log      *slog.Logger // may be used under a lock
	self     *hello       // without the metadata, which may change
	prover   atomic.Pointer[prover]
	tls      *tls.Config // nil in an insecure mesh
	buffers  exactBuffers
	writes   writeBuffers
	items    itemBuffers
	large    budget
	listener net.Listener
	listen   netip.AddrPort
	epoch    time.Time

	ctx       context.Context //nolint:containedctx // ends with the mesh, and with it all that it began
	cancel    context.CancelFunc
	goroutine sync.WaitGroup
	handlers  handlers
	refusals  repeater
	changed   signal.Signal // rung whenever what mu guards has changed
	lull      signal.Signal // rung when this node, or an address, has no handshake under way any more
	waiting   waitingRoom
	events    *feed.Hub[Event]

	counts   counters
	proving  atomic.Int32 // dials that wait for their place, or whose handshake is under way
	progress atomic.Int64 // when a link was last admitted, in nanoseconds since the mesh began
	pace     pace
	routes   atomic.Pointer[routes] // nil until somebody sends

	mu       sync.Mutex
	closed   bool
	peers    map[instanceID]*peer
	links    map[linkID]*link // from before the other side knows of them until all is received
	begins   uint64           // the turn of the latest link of a pair that this node decides about
	byAddr   map[string]*peer
	aliases  map[string]map[instanceID]bool // by the address that was dialled
	departed map[string]bool                // by address
	dialling map[string]*attempt            // by address
	errand   errand
	notify   map[chan struct{}]struct{}

	leftovers  map[instanceID]*inbox // of peers that are gone, while messages wait in them
	services   map[string]*serviceListener
	streams    map[*stream]struct{}
	tombstones tombstones
	rumours    *rumours
	ups        uint64        // how many peers have come up
	gone       []claim       // to tell the peers
	parted     []claim       // the latest of those who have gone, and aren't back
	hasNews    chan struct{} // holds a token while there are news
	hasRumours chan struct{} // holds a token when rumours have changed

	meta    map[string]string // this node's
	metaSet bool              // since the mesh began, so that a hello may have told others
	metaDue bool              // the peers are to be told
	accord  accord

	// What the events' snapshot tells; their hub's lock guards it.
	told         map[instanceID]Peer
	toldDiverged *Diverged
}

// Listen starts a mesh: it accepts peers at once. The error names the field of
// cfg that is wrong, its value, and what would be right.
func Listen(cfg Config) (*Mesh, error) { return listenOn(tcp(), cfg) }

// A network is what links are made of: TCP, or what tests have in its place.
type network struct {
	listen func(ctx context.Context, addr string) (net.Listener, error) // its address is a TCPAddr
	dial   func(ctx context.Context, addr string) (net.Conn, error)
}

func tcp() network {
	return network{
		listen: func(ctx context.Context, addr string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", addr)
		},
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}
}

func listenOn(network network, cfg Config) (*Mesh, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		cfg: cfg, network: network, epoch: time.Now(),
		peers: map[instanceID]*peer{}, links: map[linkID]*link{}, byAddr: map[string]*peer{},
		aliases: map[string]map[instanceID]bool{}, departed: map[string]bool{},
		dialling: map[string]*attempt{}, notify: map[chan struct{}]struct{}{},
		leftovers: map[instanceID]*inbox{}, errand: errand{since: -1}, services: map[string]*serviceListener{}, streams: map[*stream]struct{}{},
		tombstones: tombstones{}, hasNews: make(chan struct{}, 1), hasRumours: make(chan struct{}, 1),
		told: map[instanceID]Peer{}, meta: cfg.Meta, accord: accord{heartbeat: cfg.Heartbeat, grace: cfg.DivergedAfter},
	}
	m.handlers.init(&cfg)
	m.large.most = int64(cfg.ReceiveLarge)
	m.log = logqueue.New(cfg.Logger, m.handlers.start)
	m.waiting.limit = cfg.MaxHandshakes
	m.events = feed.New(eventQueue, m.snapshotEvent, func(n int) Event { return Lagged{N: n} })
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.prepare(); err != nil {
		m.cancel()
		return nil, err
	}
	if err := m.open(); err != nil {
		m.cancel()
		return nil, err
	}
	m.rumours = newRumours(m.self.node.Addr(), cfg.MaxPeers, mathrand.Float64)
	m.run(m.acceptAll)
	m.run(m.watchLinks)
	m.run(m.tellNews)
	m.run(m.seek)
	return m, nil
}

// prepare makes what the handshakes need.
func (m *Mesh) prepare() error {
	p, err := newProver(m.cfg.Secrets)
	if err != nil {
		return err
	}
	m.prover.Store(p)
	switch {
	case m.cfg.Insecure:
	case m.cfg.TLS != nil:
		m.tls = harden(m.cfg.TLS)
	default:
		m.tls, err = secretTLS()
	}
	return err
}

// open listens, and finds out where that is.
func (m *Mesh) open() error {
	bind, err := bindAddr(m.cfg.Bind)
	if err != nil {
		return err
	}
	if m.listener, err = m.network.listen(m.ctx, bind); err != nil {
		advice := "want an address of this machine"
		if errors.Is(err, syscall.EADDRINUSE) {
			advice = "choose another port, or 0 for a free one"
		}
		return fmt.Errorf("mesh: Config.Bind %q can't be listened on; %s: %w", m.cfg.Bind, advice, err)
	}
	m.listen = m.listener.Addr().(*net.TCPAddr).AddrPort() //nolint:forcetypeassert // it is a TCP listener
	nodes, err := advertised(m.cfg.Advertise, m.listen)
	if err == nil {
		err = m.introduce(nodes)
	}
	if err != nil {
		return errors.Join(err, m.listener.Close())
	}
	return nil
}

// introduce makes this node's hello.
func (m *Mesh) introduce(nodes []transport.Node) error {
	m.self = &hello{min: protocolMin, max: protocolMax, cluster: m.cfg.Cluster, node: nodes[0]}
	m.self.features = featureDigest | featureMeta
	if !m.cfg.NoPeerExchange {
		m.self.features |= featurePeers
	}
	for _, n := range nodes {
		m.self.addrs = append(m.self.addrs, n.Addr())
	}
	if m.cfg.Name != "" {
		n, err := transport.ParseNode(m.cfg.Name + "@" + nodes[0].Addr())
		if err != nil {
			return fmt.Errorf("mesh: Config.Name %q: %w", m.cfg.Name, err)
		}
		m.self.node = n
	}
	_, _ = rand.Read(m.self.instance[:])
	m.accord.own.toggle(m.self.instance)
	return nil
}

// run starts a goroutine that Close waits for.
func (m *Mesh) run(f func()) { m.goroutine.Go(f) }

func (m *Mesh) elapsed() time.Duration { return time.Since(m.epoch) }

// now is the payload of a ping.
func (m *Mesh) now() []byte { return binary.BigEndian.AppendUint64(nil, uint64(m.elapsed())) }

// Self returns this node.
func (m *Mesh) Self() transport.Node { return m.self.node }

// Addr returns the address that is listened on.
func (m *Mesh) Addr() net.Addr { return m.listener.Addr() }

// ListNodes returns the nodes with which a link is up, in order. Its error is
// always nil.
func (m *Mesh) ListNodes(context.Context) ([]transport.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var nodes []transport.Node
	for _, p := range m.peers {
		if p.up {
			nodes = append(nodes, p.hello.node)
		}
	}
	slices.Sort(nodes)
	return nodes, nil
}

// Canonical returns the linked nodes that go by n.
func (m *Mesh) Canonical(n transport.Node) []transport.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	var nodes []transport.Node
	for _, p := range m.find(n) {
		nodes = append(nodes, p.hello.node)
	}
	return nodes
}

// Departed reports whether the latest link with n ended because a node closed
// its mesh or called Disconnect.
func (m *Mesh) Departed(n transport.Node) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.departed[n.Addr()]
}

// Notify implements [transport.Notifier]. The channel isn't closed.
func (m *Mesh) Notify(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notify[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.notify, ch)
	})
	return ch
}

// Peers returns the peers that are up, in the order of their names.
func (m *Mesh) Peers() []Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	var peers []Peer
	for _, p := range m.peers {
		if p.up {
			peers = append(peers, p.snapshot())
		}
	}
	slices.SortFunc(peers, comparePeers)
	return peers
}

// Events returns the peers' ups, downs and changes, after a [Snapshot]. The channel is
// closed when ctx is done or the mesh is closed. A reader that falls behind by
// more than 256 events gets [Lagged] and a new Snapshot.
func (m *Mesh) Events(ctx context.Context) <-chan Event { return m.events.Subscribe(ctx) }

func (m *Mesh) snapshotEvent() Event {
	peers := make([]Peer, 0, len(m.told))
	for _, p := range m.told {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, comparePeers)
	return Snapshot{Peers: peers, Diverged: m.toldDiverged}
}

// Disconnect ends the link with n, which is told that it is unwanted: that
// instance is refused until Connect is called for it here, another instance has
// its address, or an hour has passed. One that was lost isn't dialled any more.
func (m *Mesh) Disconnect(_ context.Context, n transport.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, id := range m.rumours.giveUp(n.Addr()) { // it isn't linked, and shall not be
		m.tombstones.add(id, []string{n.Addr()}, now)
	}
	for _, p := range m.find(n) {
		m.tombstones.add(p.hello.instance, p.hello.addrs, now)
		m.drop(p, ReasonUnwanted, CodeUnwanted, "disconnected by "+string(m.self.node))
	}
	return nil
}

// Forget has the mesh stop looking for a node that was lost. A link with it, and
// a dial of its own, are left as they are.
func (m *Mesh) Forget(n transport.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rumours.giveUp(n.Addr())
}

// Handle sets the handler of a subject, in place of the one before; nil removes
// it. Messages that nobody handles are dropped.
func (m *Mesh) Handle(subject string, h Handler) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	m.handlers.change(subject, func(e *entry) { e.handle = h })
	if h != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		p.in.sweep(subject)
	}
	return nil
}

// Close leaves the cluster: the peers are told, and everything that the mesh
// began has ended when it returns, within about a second. Handlers and Config's
// funcs have 5 seconds to return; [ErrHandlerBusy] then names those that haven't,
// as one that calls Close itself. It may be called again.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	for _, p := range m.peers {
		m.drop(p, ReasonClosed, CodeLeft, "the node leaves")
	}
	m.endStreams(func(*hello) bool { return true })
	for _, l := range m.services {
		l.end()
	}
	clear(m.services)
	m.mu.Unlock()
	m.cancel()
	err := m.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // closed before
	}
	m.waiting.close()
	m.goroutine.Wait()
	m.events.Close()
	ctx, cancel := context.WithTimeout(context.Background(), handlerTimeout)
	defer cancel()
	return errors.Join(err, m.handlers.wait(ctx))
}
