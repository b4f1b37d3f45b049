//go:build linux

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// A pki is what the servers and their administrator prove who they are with. All is
// in PEM.
type pki struct {
	ca                    []byte // which signed both certificates
	serverCert, serverKey []byte // of the API server
	adminCert, adminKey   []byte // of one who may do everything
	accountKey            []byte // signs the tokens of service accounts
}

// newPKI makes one for a server at an address.
func newPKI(tb testing.TB, server net.IP) pki {
	tb.Helper()
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "e2e"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	var p pki
	caKey, _ := newKey(tb)
	p.ca = sign(tb, ca, ca, caKey, caKey)
	issue := func(cert *x509.Certificate) (certPEM, keyPEM []byte) {
		key, text := newKey(tb)
		cert.KeyUsage = x509.KeyUsageDigitalSignature
		return sign(tb, cert, ca, key, caKey), text
	}
	p.serverCert, p.serverKey = issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, IPAddresses: []net.IP{server, net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	p.adminCert, p.adminKey = issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	_, p.accountKey = newKey(tb)
	return p
}

func newKey(tb testing.TB) (*ecdsa.PrivateKey, []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// sign fills in what all certificates have, and signs.
func sign(tb testing.TB, cert, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	cert.SerialNumber = serial
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, by, &key.PublicKey, byKey)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
