package mesh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport"
)

// An authority makes the certificates of one cluster.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = a.make(t, "authority")
	a.pool.AddCert(a.cert)
	return a
}

// make makes a certificate for a name, or the authority's own.
func (a *authority) make(t *testing.T, name string) (*x509.Certificate, ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.ExtKeyUsage = true, true, nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	cert, key := a.make(t, name)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// config is what a node of the cluster has.
func (a *authority) config(t *testing.T, name string) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.certificate(t, name)}, RootCAs: a.pool, ClientCAs: a.pool}
}

// certified is a mesh's configuration with certificates instead of a secret.
func certified(c *tls.Config) func(*Config) {
	return func(cfg *Config) { cfg.Secrets, cfg.TLS = nil, c }
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	both := func(c *Config) { c.Secrets, c.TLS = []string{testSecret}, ours.config(t, "a") }
	loose := ours.config(t, "a") // tries to let everybody in, later
	loose.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := ours.config(t, "a")
		c.ClientAuth, c.MinVersion, c.NextProtos = tls.NoClientCert, tls.VersionTLS10, nil
		return c, nil
	}
	named, other := ours.config(t, "cluster.internal"), ours.config(t, "other.internal")
	named.ServerName, other.ServerName = "cluster.internal", "other.internal"
	tests := []struct {
		name string
		a, b func(*Config)
		ok   bool
		code Code // of the refusal; none: another error
	}{
		{"one authority", certified(ours.config(t, "a")), certified(ours.config(t, "b")), true, 0},
		{"a name for all", certified(named), certified(named), true, 0},
		{"another name", certified(other), certified(named), false, CodeTLS},
		{"another authority", certified(ours.config(t, "a")), certified(theirs.config(t, "b")), false, CodeTLS},
		{"and a secret", both, both, true, 0},
		{"and another secret", both, func(c *Config) { both(c); c.Secrets = []string{"another horse battery staple"} }, false, 0},
		{"only one has a secret, too", both, certified(ours.config(t, "b")), false, 0},
		{"a secret alone", certified(ours.config(t, "a")), func(*Config) {}, false, 0},
		{"a config that loosens", certified(loose), certified(ours.config(t, "b")), true, 0},
		{"a config that loosens, and a stranger", certified(loose), certified(theirs.config(t, "b")), false, CodeTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, flip := range []bool{false, true} {
				a, b := listen(t, tt.a), listen(t, tt.b)
				if flip {
					a, b = b, a
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				err := a.Connect(ctx, b.Self())
				cancel()
				switch refusal, typed := errors.AsType[*RefusedError](err); {
				case (err == nil) != tt.ok:
					t.Errorf("got %v, want it linked: %v", err, tt.ok)
				case tt.code != CodeNone && (!typed || refusal.Code != tt.code):
					t.Errorf("got %v, want code %s", err, tt.code)
				}
			}
		})
	}
}

// TestLateAlertIsARefusal: in TLS 1.3 the dialler's handshake is over before the
// acceptor has looked at its certificate.
func TestLateAlertIsARefusal(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	trusting := theirs.config(t, "b") // it takes our certificates, and we don't take its own
	trusting.RootCAs = ours.pool
	a, b := listen(t, certified(ours.config(t, "a"))), listen(t, certified(trusting))
	for range 20 {
		refusal, ok := errors.AsType[*RefusedError](b.Connect(t.Context(), a.Self()))
		if !ok || refusal.Code != CodeTLS || !refusal.ByPeer {
			t.Fatalf("got %v, want a refusal by the peer with code %s", refusal, CodeTLS)
		}
	}
}

// TestVerifyPeer: a certificate is good for its own node only, and a member
// can't take another's place by its hello.
func TestVerifyPeer(t *testing.T) {
	ours := newAuthority(t)
	verify := func(c *Config) {
		c.VerifyPeer = func(state tls.ConnectionState, n transport.Node) error {
			return state.PeerCertificates[0].VerifyHostname(n.Name())
		}
	}
	start := func(cert, name string, change func(*Config)) *Mesh {
		return listen(t, func(c *Config) {
			certified(ours.config(t, cert))(c)
			verify(c)
			c.Name = name
			if change != nil {
				change(c)
			}
		})
	}
	a, b := start("a", "a", nil), start("b", "b", nil)
	connect(t, a, b)
	impostor := start("c", "b", func(c *Config) { c.Advertise = b.Self().Addr() })
	for _, dial := range []func() error{
		func() error { return impostor.Connect(t.Context(), a.Self()) },
		func() error { return a.dial(t.Context(), target{addr: impostor.Addr().String()}, nil) },
	} {
		if err := dial(); !refusedWith(CodeTLS)(err) || !strings.Contains(err.Error(), "VerifyPeer") {
			t.Errorf("got %v, want code %s and who refused", err, CodeTLS)
		}
	}
	if p := a.Peers(); len(p) != 1 || p[0].Instance != b.self.instance.String() {
		t.Errorf("peers: %+v", p)
	}
}

// TestCertificatesAreReloaded: new links use what the callbacks return now.
func TestCertificatesAreReloaded(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(old.cert)
	pool.AddCert(next.cert)
	var current atomic.Pointer[tls.Certificate]
	first, second := old.certificate(t, "a"), next.certificate(t, "a")
	current.Store(&first)
	reloading := &tls.Config{
		RootCAs: pool, ClientCAs: pool,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}
	m := listen(t, certified(reloading))
	outdated := next.config(t, "b") // trusts the new authority alone
	connect(t, m, listen(t, certified(&tls.Config{Certificates: old.config(t, "c").Certificates, RootCAs: pool, ClientCAs: pool})))
	strict := listen(t, certified(outdated))
	if err := m.Connect(t.Context(), strict.Self()); !refusedWith(CodeTLS)(err) {
		t.Errorf("with the old certificate: %v, want code %s", err, CodeTLS)
	}
	current.Store(&second)
	connect(t, m, strict)
	connect(t, listen(t, certified(next.config(t, "d"))), m)
}

func TestBadTLSConfig(t *testing.T) {
	ours := newAuthority(t)
	change := func(f func(*tls.Config)) Config {
		c := ours.config(t, "a")
		f(c)
		return Config{TLS: c, Bind: "127.0.0.1:0"}
	}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"unverified", change(func(c *tls.Config) { c.InsecureSkipVerify = true }), "Config.TLS.InsecureSkipVerify is true and VerifyConnection is nil"},
		{"no authority to dial by", change(func(c *tls.Config) { c.RootCAs = nil }), "Config.TLS.RootCAs is nil"},
		{"old", change(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "Config.TLS.MaxVersion is TLS 1.2"},
		{"no authority", change(func(c *tls.Config) { c.ClientCAs = nil }), "Config.TLS.ClientCAs is nil"},
		{"no certificate", change(func(c *tls.Config) { c.Certificates = nil }), "Config.TLS has no certificate to accept peers with"},
		{"none to dial with", change(func(c *tls.Config) {
			c.Certificates, c.GetCertificate = nil, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}), "Config.TLS has no certificate to dial peers with"},
		{"insecure", Config{TLS: ours.config(t, "a"), Insecure: true}, "Config.Insecure is true and Config.TLS is set"},
		{"nothing to verify", Config{
			Secrets:    []string{testSecret},
			VerifyPeer: func(tls.ConnectionState, transport.Node) error { return nil },
		}, "Config.VerifyPeer is set and Config.TLS is not"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Listen(tt.cfg)
			if m != nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestTheUsersConfigIsNotChanged: it is the user's, and may serve others too.
func TestTheUsersConfigIsNotChanged(t *testing.T) {
	ours := newAuthority(t)
	c := ours.config(t, "a")
	m := listen(t, certified(c))
	connect(t, m, listen(t, certified(ours.config(t, "b"))))
	if c.MinVersion != 0 || c.ClientAuth != tls.NoClientCert || c.NextProtos != nil || c.SessionTicketsDisabled {
		t.Errorf("changed: %+v", c)
	}
}

// TestGetConfigForClient: what it returns needs only what accepting needs, and nil
// means the base, which then has to verify.
func TestGetConfigForClient(t *testing.T) {
	ours := newAuthority(t)
	cert := ours.certificate(t, "a")
	answer := func(c *tls.Config) func(*Config) {
		base := ours.config(t, "a")
		base.ClientCAs = nil
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c, nil }
		return certified(base)
	}
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	b := listen(t, certified(ours.config(t, "b")))
	if err := b.Connect(t.Context(), listen(t, answer(&tls.Config{ClientCAs: ours.pool, GetCertificate: get})).Self()); err != nil {
		t.Errorf("what accepting needs: %v", err)
	}
	for name, c := range map[string]*tls.Config{"the base, which verifies nobody": nil, "one that verifies nobody": {GetCertificate: get}} {
		if err := b.Connect(t.Context(), listen(t, answer(c)).Self()); err == nil {
			t.Errorf("%s: linked", name)
		}
	}
}

// TestOwnVerdictIsARefusal: of a func of Config.TLS, too.
func TestOwnVerdictIsARefusal(t *testing.T) {
	ours := newAuthority(t)
	revoked := errors.New("revoked")
	strict := ours.config(t, "a")
	strict.VerifyConnection = func(tls.ConnectionState) error { return revoked }
	a, b := listen(t, certified(strict)), listen(t, certified(ours.config(t, "b")))
	if err := a.Connect(t.Context(), b.Self()); !refusedWith(CodeTLS)(err) || errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("got %v, want code %s and why", err, CodeTLS)
	}
}

// TestVerifyPeerSeesEveryAddress: a member can't claim another's beside its own.
func TestVerifyPeerSeesEveryAddress(t *testing.T) {
	ours := newAuthority(t)
	allowed := map[transport.Node]bool{}
	verify := func(_ tls.ConnectionState, n transport.Node) error {
		if !allowed[n] {
			return errors.New("not its address")
		}
		return nil
	}
	a := listen(t, func(c *Config) { certified(ours.config(t, "a"))(c); c.VerifyPeer = verify })
	c := listen(t, func(c *Config) {
		certified(ours.config(t, "c"))(c)
		c.Name, c.Advertise = "c", "127.0.0.1:1 127.0.0.1:2"
	})
	allowed["c@127.0.0.1:1"] = true
	if err := c.Connect(t.Context(), a.Self()); !refusedWith(CodeTLS)(err) {
		t.Errorf("got %v, want code %s", err, CodeTLS)
	}
}

func loopbackOnly() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }

// TestSkippingIsForTheDialler: InsecureSkipVerify, which in crypto/tls is about the
// certificates of those who are dialled, lets nobody in whom ClientCAs keeps out.
func TestSkippingIsForTheDialler(t *testing.T) {
	ours, strange := newAuthority(t), newAuthority(t)
	cfg := ours.config(t, "a")
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(tls.ConnectionState) error { return nil }
	a := listen(t, certified(cfg))
	stranger := strange.config(t, "b")
	stranger.RootCAs = ours.pool
	if err := listen(t, certified(stranger)).Connect(t.Context(), a.Self()); !refusedWith(CodeTLS)(err) {
		t.Errorf("a stranger: %v, want code %s", err, CodeTLS)
	}
	connect(t, listen(t, certified(ours.config(t, "c"))), a)
}

// TestConnectOutlastsNoFuncOfConfig: it returns when its context is done.
func TestConnectOutlastsNoFuncOfConfig(t *testing.T) {
	ours := newAuthority(t)
	hang := make(chan struct{})
	a := listen(t, func(c *Config) {
		certified(ours.config(t, "a"))(c)
		c.VerifyPeer = func(tls.ConnectionState, transport.Node) error { <-hang; return nil }
	})
	defer close(hang)
	b := listen(t, certified(ours.config(t, "b")))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := a.Connect(ctx, b.Self()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > patience {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
}
