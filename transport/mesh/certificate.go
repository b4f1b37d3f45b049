package mesh

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// checkTLS refuses a configuration that would verify nobody, or nobody but by
// chance. Its error continues "Config.TLS".
func checkTLS(c *tls.Config) error {
	switch {
	case c.InsecureSkipVerify && c.VerifyConnection == nil:
		return errors.New(".InsecureSkipVerify is true and VerifyConnection is nil, so that every peer would be let in: leave it false, or set VerifyConnection")
	case c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS13:
		return fmt.Errorf(".MaxVersion is %s; want TLS 1.3, or zero", tls.VersionName(c.MaxVersion))
	case c.RootCAs == nil && !c.InsecureSkipVerify:
		return errors.New(".RootCAs is nil, so that a certificate of any public authority would be taken for a node's: set it to the authority of the cluster's certificates")
	}
	if c.GetConfigForClient == nil { // which says what peers are accepted with
		if err := checkAcceptTLS(c); err != nil {
			return err
		}
	}
	if len(c.Certificates) == 0 && c.GetClientCertificate == nil {
		return errors.New(" has no certificate to dial peers with: set Certificates or GetClientCertificate")
	}
	return nil
}

// checkAcceptTLS checks what only the acceptor's side needs.
func checkAcceptTLS(c *tls.Config) error {
	switch {
	case c.InsecureSkipVerify && c.VerifyConnection == nil:
		return errors.New(".InsecureSkipVerify is true and VerifyConnection is nil")
	case c.ClientCAs == nil && !c.InsecureSkipVerify:
		return errors.New(".ClientCAs is nil, so that a certificate of any public authority would be let in: set it to the authority of the cluster's certificates")
	case len(c.Certificates) == 0 && c.GetCertificate == nil:
		return errors.New(" has no certificate to accept peers with: set Certificates or GetCertificate")
	default:
		return nil
	}
}

// harden returns a copy of a configuration that can't verify less than a mesh
// has to, whatever its callbacks return later. What it verifies with is the
// user's.
func harden(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	c.NextProtos = []string{alpn}
	c.SessionTicketsDisabled = true
	c.ClientSessionCache = nil
	c.DynamicRecordSizingDisabled = true
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if c.ClientCAs == nil { // which needs InsecureSkipVerify: VerifyConnection decides
		c.ClientAuth = tls.RequireAnyClientCert
	}
	if verify := c.VerifyConnection; verify != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error { return verdictOf(verify(state)) }
	}
	if verify := c.VerifyPeerCertificate; verify != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			return verdictOf(verify(raw, chains))
		}
	}
	if get := c.GetConfigForClient; get != nil {
		c.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) { return hardenAnswer(c, get, info) }
	}
	return c
}

// hardenAnswer hardens what GetConfigForClient returns; nil means the base.
func hardenAnswer(base *tls.Config, get func(*tls.ClientHelloInfo) (*tls.Config, error), info *tls.ClientHelloInfo) (*tls.Config, error) {
	other, err := get(info)
	if err != nil {
		return nil, err
	}
	checked := base
	if other != nil {
		checked = other.Clone()
		checked.GetConfigForClient = nil // isn't asked again
	}
	if err := checkAcceptTLS(checked); err != nil {
		return nil, fmt.Errorf("mesh: what Config.TLS.GetConfigForClient returned%w", err)
	}
	if other == nil {
		return nil, nil //nolint:nilnil // that means the base
	}
	return harden(checked), nil
}

// A verdictError is what a func of Config.TLS said against a certificate.
type verdictError struct{ err error }

func (e *verdictError) Error() string { return e.err.Error() }
func (e *verdictError) Unwrap() error { return e.err }

func verdictOf(err error) error {
	if err == nil {
		return nil
	}
	return &verdictError{err}
}

// secretTLS is what a mesh without certificates uses. Verification is off on
// purpose: the proof over the exported key, which no relay has, comes in its
// place. Records that grow little by little would have the peer's buffer grow by
// doubling, to more than a whole record needs.
func secretTLS() (*tls.Config, error) {
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{cert},
		InsecureSkipVerify:     true, //nolint:gosec // see above
		SessionTicketsDisabled: true,

		DynamicRecordSizingDisabled: true,
	}, nil
}

// newCertificate makes the acceptor's certificate. It proves nothing by itself:
// the secret's proof over the connection does.
func newCertificate() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("mesh: making a key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("mesh: making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

// clientTLS is the configuration to dial a host with, by which its certificate
// is verified unless Config.TLS names another.
func (m *Mesh) clientTLS(host string) *tls.Config {
	if m.cfg.TLS == nil || m.tls.ServerName != "" {
		return m.tls
	}
	c := m.tls.Clone()
	c.ServerName = host
	return c
}

// checkPeer asks the user whether a certificate belongs to the node that shows
// it, by each of the addresses that it claims.
func (m *Mesh) checkPeer(ctx context.Context, s *session, h *hello) error {
	if m.cfg.VerifyPeer == nil {
		return nil
	}
	verdict, err := ask(ctx, m, "Config.VerifyPeer", func() error {
		for _, n := range h.nodes() {
			if err := m.cfg.VerifyPeer(s.state, n); err != nil {
				return refuse(CodeTLS, "VerifyPeer refused the certificate of %s: %v", n, err)
			}
		}
		return nil
	})
	return cmp.Or(err, verdict)
}

// tlsRefusal makes a [RefusedError] of a TLS handshake that a side ended for
// the other's certificate. In TLS 1.3 the acceptor checks the dialler's after
// the dialler's handshake is over, so its alert may come with the first read.
func (m *Mesh) tlsRefusal(err error) error {
	if m.cfg.TLS == nil || err == nil {
		return err
	}
	if own, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return refuse(CodeTLS, "the peer's certificate: %v", own.Err)
	}
	if own, ok := errors.AsType[*verdictError](err); ok {
		return refuse(CodeTLS, "Config.TLS refused the peer's certificate: %v", own.err)
	}
	// crypto/tls marks the other side's alerts so.
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		return &RefusedError{Code: CodeTLS, Reason: remote.Err.Error(), ByPeer: true}
	}
	return err
}

// certifies reports whether the peer's certificate is good for a host, where that
// is what a dialler verifies.
func (m *Mesh) certifies(l *link, host string) bool {
	if m.cfg.TLS == nil || m.cfg.TLS.InsecureSkipVerify || m.cfg.TLS.ServerName != "" || l == nil {
		return true
	}
	c, ok := l.conn.(*tls.Conn)
	return ok && c.ConnectionState().PeerCertificates[0].VerifyHostname(host) == nil
}

// refuse makes this node's refusal.
func refuse(c Code, format string, args ...any) *RefusedError {
	return &RefusedError{Code: c, Reason: fmt.Sprintf(format, args...)}
}
