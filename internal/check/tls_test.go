package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// selfSigned makes a certificate for 127.0.0.1 and its key, in PEM.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestEncryptedConnection(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	certificate, key := selfSigned(t)
	encrypted := servertest.Postgres(t, servers.PostgresOptions{
		Settings: map[string]string{"ssl": "on", "ssl_cert_file": "our.crt", "ssl_key_file": "our.key"},
		Files:    map[string][]byte{"our.crt": certificate, "our.key": key},
		HBA:      []string{"hostnossl all all 127.0.0.1/32 reject"},
	})
	root := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(root, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	b.cfg.PostgresURL = encrypted.URL()
	expect(t, b.check(t), "postgres", "connection", check.Fail, "pg_hba.conf")
	b.cfg.PostgresURL = strings.Replace(encrypted.URL(), "sslmode=disable", "sslmode=verify-full&sslrootcert="+root, 1)
	report := b.check(t)
	expect(t, report, "postgres", "tls", check.OK, "is encrypted")
	expect(t, report, "postgres", "replication", check.OK, "may open")
}
