package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestEncryptedConnection(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	certificate, key := servertest.SelfSigned(t)
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
