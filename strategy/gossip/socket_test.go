package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A fakeEndpoint hears on as many interfaces as its rig has them hear.
type fakeEndpoint struct {
	rig    *rig
	joined []string
	closed bool
}

func (e *fakeEndpoint) join(i *net.Interface) error {
	if len(e.joined) >= e.rig.most {
		return errBroken
	}
	e.joined = append(e.joined, i.Name)
	return nil
}

func (e *fakeEndpoint) leave(i *net.Interface) {
	e.joined = slices.DeleteFunc(e.joined, func(name string) bool { return name == i.Name })
}

func (e *fakeEndpoint) send(i *net.Interface, _ netip.Addr, _ []byte) error {
	e.rig.sent = append(e.rig.sent, i.Name)
	if slices.Contains(e.rig.mute, i.Name) {
		return errBroken
	}
	return nil
}

func (e *fakeEndpoint) receive(buf []byte) (int, netip.Addr, error) {
	return copy(buf, fmt.Sprint(e.joined)), netip.Addr{}, nil
}

func (e *fakeEndpoint) close() error { e.closed = true; return nil }

// A rig is a machine with a socket.
type rig struct {
	*socket

	interfaces []netInterface
	most       int      // that an endpoint hears on
	mute       []string // by which nothing can be sent
	noMore     bool     // endpoints can be opened
	all        []*fakeEndpoint
	sent       []string // by which packets were sent, in order
}

func newRig(t *testing.T, most int, interfaces ...netInterface) *rig {
	t.Helper()
	r := &rig{most: most, interfaces: interfaces}
	open := func(context.Context) (endpoint, error) {
		if r.noMore {
			return nil, errors.New("too many open files")
		}
		e := &fakeEndpoint{rig: r}
		r.all = append(r.all, e)
		return e, nil
	}
	var err error
	if r.socket, err = newSocket(t.Context(), Strategy{}.withDefaults(), netip.MustParseAddr(DefaultGroup), open); err != nil {
		t.Fatal(err)
	}
	r.list = func() ([]netInterface, error) {
		for i := range r.interfaces {
			r.interfaces[i].Index = i + 1
		}
		return slices.Clone(r.interfaces), nil
	}
	return r
}

// troubled says where a look shows trouble.
func troubled(n news) (where []string) {
	for _, t := range n.troubles {
		where = append(where, t.where)
	}
	return where
}

func ethernets(n int) (all []netInterface) {
	for i := range n {
		all = append(all, iface(fmt.Sprintf("eth%d", i), ethernet, fmt.Sprintf("10.%d.0.1/24", i)))
	}
	return all
}

// TestManyInterfaces has more interfaces than one endpoint can hear on be heard on
// by several, and be sent by by the first.
func TestManyInterfaces(t *testing.T) {
	r := newRig(t, 2, ethernets(5)...)
	seen := r.refresh(t.Context())
	if !seen.came || len(seen.ears) != 2 || seen.troubles != nil {
		t.Fatalf("the first look shows %+v, want 2 further ears and no trouble", seen)
	}
	buf := make([]byte, 100)
	n, _, err := seen.ears[1].receive(buf)
	if got := string(buf[:n]); err != nil || got != "[eth4]" {
		t.Errorf("the last ear hears on %s, want on eth4: %v", got, err)
	}
	if err := r.send(nil); err != nil || len(r.sent) != 5 {
		t.Errorf("it sends by %q, want by all 5: %v", r.sent, err)
	}

	r.interfaces[1].Flags = 0 // it goes down, which makes room
	r.interfaces = append(r.interfaces, iface("eth5", ethernet, "10.5.0.1/24"), iface("eth6", ethernet, "10.6.0.1/24"))
	if seen = r.refresh(t.Context()); !seen.came || len(seen.ears) != 0 {
		t.Errorf("with another instead of one, and one more, a look shows %+v, want that one came, and no ear", seen)
	}
	if seen = r.refresh(t.Context()); seen.came || seen.ears != nil || seen.troubles != nil {
		t.Errorf("the next look shows %+v, want nothing new", seen)
	}
	var heard []string
	for _, e := range r.all {
		heard = append(heard, e.joined...)
	}
	slices.Sort(heard)
	if want := "eth0 eth2 eth3 eth4 eth5 eth6"; strings.Join(heard, " ") != want {
		t.Errorf("it hears on %q, want on %s", heard, want)
	}
	if err := r.close(); err != nil || slices.ContainsFunc(r.all, func(e *fakeEndpoint) bool { return !e.closed }) {
		t.Errorf("not all endpoints are closed: %v", err)
	}
}

// TestDeafInterface has an interface that nothing can be heard on be sent by still,
// and be told, until it can.
func TestDeafInterface(t *testing.T) {
	r := newRig(t, 1, ethernets(2)...)
	r.noMore = true
	for range 2 {
		seen := r.refresh(t.Context())
		if got := troubled(seen); !slices.Equal(got, []string{"eth1 (IPv4)"}) || !strings.Contains(seen.troubles[0].err.Error(), "too many open files") {
			t.Errorf("a look shows %+v, want that nothing can be heard on eth1, and why", seen.troubles)
		}
	}
	if err := r.send(nil); err != nil || !slices.Equal(r.sent, []string{"eth0", "eth1"}) {
		t.Errorf("it sends by %q, want by both: %v", r.sent, err)
	}
	r.noMore = false
	if seen := r.refresh(t.Context()); !seen.came || len(seen.ears) != 1 || seen.troubles != nil {
		t.Errorf("when it can be heard on, a look shows %+v, want that it came", seen)
	}
	r.interfaces[0].Flags = 0
	r.noMore, r.most = true, 0
	r.interfaces[1].Name = "eth9" // another, on which nothing can be heard
	r.refresh(t.Context())
	if err := r.send(nil); !errors.Is(err, errBroken) {
		t.Errorf("when nothing can be heard anywhere, sending returns %v", err)
	}
}

// TestPartial has sending fail if no interface that leads to others is of use, and
// where some are have the others be told.
func TestPartial(t *testing.T) {
	lo := iface("lo", net.FlagUp|net.FlagLoopback|net.FlagRunning, "127.0.0.1/8")
	eth := ethernets(2)
	docker := iface("docker0", ethernet&^net.FlagRunning, "172.17.0.1/16")
	for name, tt := range map[string]struct {
		interfaces []netInterface
		mute       []string
		troubled   []string
		fails      bool
	}{
		"all take it":                       {interfaces: []netInterface{lo, eth[0], eth[1]}},
		"one doesn't":                       {[]netInterface{lo, eth[0], eth[1]}, []string{"eth0"}, []string{"eth0 (IPv4)"}, false},
		"loopback doesn't":                  {[]netInterface{lo, eth[0]}, []string{"lo"}, nil, false},
		"only loopback does":                {[]netInterface{lo, eth[0]}, []string{"eth0"}, []string{"eth0 (IPv4)"}, true},
		"none does":                         {[]netInterface{eth[0], eth[1]}, []string{"eth0", "eth1"}, []string{"eth0 (IPv4)", "eth1 (IPv4)"}, true},
		"there is only loopback":            {interfaces: []netInterface{lo}},
		"and that doesn't":                  {[]netInterface{lo}, []string{"lo"}, nil, true},
		"only one that leads nowhere does":  {[]netInterface{lo, eth[0], docker}, []string{"eth0"}, []string{"eth0 (IPv4)"}, true},
		"one that leads nowhere doesn't":    {[]netInterface{lo, docker}, []string{"docker0"}, nil, false},
		"there is one that leads nowhere":   {interfaces: []netInterface{docker}},
		"and that is of no use either":      {[]netInterface{docker}, []string{"docker0"}, nil, true},
		"there is none":                     {fails: true},
		"one doesn't, and leads nowhere":    {[]netInterface{eth[0], docker}, []string{"docker0"}, nil, false},
		"one doesn't, and an idle one does": {[]netInterface{eth[0], eth[1], docker}, []string{"eth1"}, []string{"eth1 (IPv4)"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 20, tt.interfaces...)
			r.refresh(t.Context())
			r.mute = tt.mute
			if err := r.send(nil); (err != nil) != tt.fails {
				t.Errorf("sending returns %v, want an error: %t", err, tt.fails)
			}
			if got := troubled(r.refresh(t.Context())); !slices.Equal(got, tt.troubled) {
				t.Errorf("the next look shows trouble at %q, want %q", got, tt.troubled)
			}
			r.mute = nil
			if err := r.send(nil); err != nil && len(tt.interfaces) > 0 {
				t.Errorf("when all take packets sending returns %v", err)
			}
			if got := r.refresh(t.Context()); got.troubles != nil || got.came {
				t.Errorf("then a look shows %+v, want no trouble", got)
			}
		})
	}
}

// TestRunning has an interface that has led nowhere, as without its cable, be one
// that came when it does.
func TestRunning(t *testing.T) {
	r := newRig(t, 20, iface("eth0", ethernet&^net.FlagRunning, "10.0.0.1/24"))
	for _, flags := range []net.Flags{ethernet, ethernet &^ net.FlagRunning, ethernet} {
		r.refresh(t.Context())
		r.interfaces[0].Flags = flags
		if got, want := r.refresh(t.Context()).came, flags&net.FlagRunning != 0; got != want {
			t.Errorf("with flags %s it came: %t, want %t", flags, got, want)
		}
	}
}

// TestDeadline has a send that took too long fail none after it.
func TestDeadline(t *testing.T) {
	group := netip.MustParseAddr("233.252.1.196")
	e, err := Strategy{Groups: []string{group.String()}}.withDefaults().listen(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if err := e.(*udpEndpoint).conn.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	all, err := listInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(i netInterface) bool { return i.loopback() })
	if err := e.send(&all[at].Interface, group, []byte("?")); err != nil {
		t.Errorf("the next send returns %v", err)
	}
}
