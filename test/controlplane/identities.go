package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long certificates hold: longer than any checkout lives.
const validYears = 20

// identities are the files and the token by which server and clients know each
// other. They are made once, in a folder of their own, and then only read. The
// folder appears under its name when it is complete, never half made.
type identities struct {
	caFile                string
	serverCertFile        string
	serverKeyFile         string
	clientCertFile        string // an administrator's: CN admin, O system:masters
	clientKeyFile         string
	serviceAccountKeyFile string
	tokenFile             string // kube-apiserver's static token file
	token                 string
}

func loadIdentities(dir string) (*identities, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeIdentities(dir); err != nil {
			return nil, fmt.Errorf("making the certificates in %s: %w", dir, err)
		}
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	return &identities{
		caFile:                in("ca.crt"),
		serverCertFile:        in("server.crt"),
		serverKeyFile:         in("server.key"),
		clientCertFile:        in("admin.crt"),
		clientKeyFile:         in("admin.key"),
		serviceAccountKeyFile: in("service-account.key"),
		tokenFile:             in("tokens.csv"),
		token:                 string(token),
	}, nil
}

func makeIdentities(dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "pki-*") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // does nothing once renamed
	caTemplate := certificate("roost-controlplane-ca", nil)
	caTemplate.IsCA = true
	caTemplate.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	ca, err := newPair(tmp, "ca", caTemplate, nil)
	if err != nil {
		return err
	}
	serving := certificate("kube-apiserver", nil)
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if _, err := newPair(tmp, "server", serving, ca); err != nil {
		return err
	}
	admin := certificate("admin", []string{"system:masters"})
	admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := newPair(tmp, "admin", admin, ca); err != nil {
		return err
	}
	if _, err := newKey(tmp, "service-account"); err != nil {
		return err
	}
	if err := newToken(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func certificate(name string, groups []string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: groups},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(validYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
}

// newPair writes NAME.key and NAME.crt, signed by ca, or by itself without one.
func newPair(dir, name string, template *x509.Certificate, ca *pair) (*pair, error) {
	key, err := newKey(dir, name)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	signer := &pair{template, key}
	if ca != nil {
		signer = ca
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &pair{cert, key}, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
}

func newKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der)
}

func newToken(dir string) error {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	token := hex.EncodeToString(secret[:])
	line := token + ",admin-token,admin-token,\"system:masters\"\n"
	if err := os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(line), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
