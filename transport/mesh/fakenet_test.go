package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/signal"
)

// A fakeNet is a network of hosts in virtual time, for the bubbles of
// testing/synctest. What goes between two hosts that are cut apart waits, as TCP
// sends it again. A test that cuts heals before it ends.
type fakeNet struct {
	healed    signal.Signal
	perSecond int // bytes that a line takes, each way; zero for all at once
	written   atomic.Int64

	mu        sync.Mutex
	listeners map[netip.AddrPort]*fakeListener
	cut       map[[2]netip.Addr]bool
	dials     []fakeDial
	nextPort  uint16
}

// A fakeDial is an attempt to connect.
type fakeDial struct {
	at       time.Time
	from, to netip.AddrPort
	answered bool
}

func newFakeNet() *fakeNet {
	return &fakeNet{listeners: map[netip.AddrPort]*fakeListener{}, cut: map[[2]netip.Addr]bool{}, nextPort: 30000}
}

// hostIP is the address of the i-th host.
func hostIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// listen starts a mesh on the i-th host, at port 4370.
func (f *fakeNet) listen(t *testing.T, i int, change func(*Config)) *Mesh {
	t.Helper()
	cfg := Config{Secrets: []string{testSecret}, Bind: netip.AddrPortFrom(hostIP(i), Port).String()}
	if change != nil {
		change(&cfg)
	}
	m, err := listenOn(f.host(hostIP(i)), quiet(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// host is the network as one host sees it.
func (f *fakeNet) host(ip netip.Addr) network {
	return network{
		listen: func(_ context.Context, addr string) (net.Listener, error) { return f.open(addr) },
		dial:   func(ctx context.Context, addr string) (net.Conn, error) { return f.connect(ctx, ip, addr) },
	}
}

func (f *fakeNet) open(addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[at] != nil {
		return nil, errors.New("address already in use")
	}
	l := &fakeListener{net: f, at: at, conns: make(chan net.Conn), done: make(chan struct{})}
	f.listeners[at] = l
	return l, nil
}

func (f *fakeNet) connect(ctx context.Context, from netip.Addr, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.nextPort++
	local := netip.AddrPortFrom(from, f.nextPort)
	dial := len(f.dials)
	f.dials = append(f.dials, fakeDial{at: time.Now(), from: local, to: to})
	f.mu.Unlock()
	if err := f.waitForPath(ctx.Done(), from, to.Addr()); err != nil {
		return nil, context.Cause(ctx)
	}
	f.mu.Lock()
	l := f.listeners[to]
	f.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("%s: connection refused", addr)
	}
	a, b := net.Pipe()
	select {
	case l.conns <- &fakeConn{Conn: b, net: f, local: to, remote: local, done: make(chan struct{})}:
		f.mu.Lock()
		f.dials[dial].answered = true
		f.mu.Unlock()
		return &fakeConn{Conn: a, net: f, local: local, remote: to, done: make(chan struct{})}, nil
	case <-l.done:
		return nil, fmt.Errorf("%s: connection refused", addr)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// waitForPath waits until two hosts aren't cut apart.
func (f *fakeNet) waitForPath(done <-chan struct{}, a, b netip.Addr) error {
	for {
		healed := f.healed.Wait()
		f.mu.Lock()
		cut := f.cut[fakePair(a, b)]
		f.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-healed:
		case <-done:
			return os.ErrDeadlineExceeded
		}
	}
}

func fakePair(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// split cuts hosts of different groups apart.
func (f *fakeNet) split(groups ...[]*Mesh) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, g := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range g {
				for _, b := range other {
					f.cut[fakePair(a.listen.Addr(), b.listen.Addr())] = true
				}
			}
		}
	}
}

// heal joins all hosts again.
func (f *fakeNet) heal() {
	f.mu.Lock()
	clear(f.cut)
	f.mu.Unlock()
	f.healed.Ring()
}

// dialled returns the attempts since a time.
func (f *fakeNet) dialled(since time.Time) (dials []fakeDial) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.dials {
		if !d.at.Before(since) {
			dials = append(dials, d)
		}
	}
	return dials
}

type fakeListener struct {
	net   *fakeNet
	at    netip.AddrPort
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.at)
		l.net.mu.Unlock()
		close(l.done)
	})
	return nil
}

func (l *fakeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

type fakeConn struct {
	net.Conn
	net           *fakeNet
	local, remote netip.AddrPort
	once          sync.Once
	done          chan struct{}
}

func (c *fakeConn) Write(b []byte) (int, error) {
	if err := c.net.waitForPath(c.done, c.local.Addr(), c.remote.Addr()); err != nil {
		return 0, err
	}
	c.net.written.Add(int64(len(b)))
	if c.net.perSecond > 0 {
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(c.net.perSecond))
	}
	return c.Conn.Write(b)
}

// SetDeadline ends what waits for a path too, once it has passed.
func (c *fakeConn) SetDeadline(t time.Time) error {
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0: // a timer that is due at once in a bubble can crash the race detector
		c.end()
	default:
		time.AfterFunc(wait, c.end)
	}
	return c.Conn.SetDeadline(t)
}

func (c *fakeConn) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *fakeConn) end() { c.once.Do(func() { close(c.done) }) }

// Close is seen by the other end once there is a path.
func (c *fakeConn) Close() error {
	c.end()
	_ = c.Conn.SetDeadline(time.Unix(1, 0))
	go func() {
		_ = c.net.waitForPath(nil, c.local.Addr(), c.remote.Addr())
		_ = c.Conn.Close()
	}()
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *fakeConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
