package cache_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// selfSigned writes a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	certificate, private := servertest.SelfSigned(t)
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, pem := range map[string][]byte{cert: certificate, key: private} {
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestOpenWithTLSAndUser: an encrypted connection whose server asks for a
// client's certificate, a user with a password, and settings in the URL.
func TestOpenWithTLSAndUser(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	// The harness waits for the plain port; the other is found free here.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()
	server := servertest.Redis(t, servers.RedisOptions{Args: []string{
		"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "yes",
	}})
	admin := server.Client()
	defer admin.Close()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">s3cret", "~*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	files := url.Values{"ca_file": {cert}, "cert_file": {cert}, "key_file": {key}}.Encode()
	open := func(user, query string) error {
		t.Helper()
		c, err := cache.Open(t.Context(), fmt.Sprintf("rediss://%s@127.0.0.1:%s/0?pool_size=3&max_retries=-1&%s", user, port, query), cache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := cache.Set(t.Context(), c, "k", "v", time.Minute); err != nil {
			return err
		}
		_, err = cache.Get[string](t.Context(), c, "k")
		return err
	}
	if err := open("app:s3cret", files); err != nil {
		t.Errorf("got %v", err)
	}
	for name, err := range map[string]error{
		"wrong password":        open("app:wrong", files),
		"unknown authority":     open("app:s3cret", url.Values{"cert_file": {cert}, "key_file": {key}}.Encode()),
		"no client certificate": open("app:s3cret", url.Values{"ca_file": {cert}}.Encode()),
	} {
		if !errors.Is(err, cache.ErrUnavailable) || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: got %v, want ErrUnavailable without the password", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"redis://u:s3cret@h:port":                     "port",
		"http://u:s3cret@h":                           "scheme",
		"redis://u:s3cret@h/0?ca_file=x.pem":          "rediss",
		"rediss://u:s3cret@h/0?ca_file=nowhere":       "ca_file",
		"rediss://u:s3cret@h/0?ca_file=" + empty:      "no certificate",
		"rediss://u:s3cret@h/0?cert_file=nowhere":     "cert_file",
		"redis://u:s3cret@h/0?pool_size=many":         "pool_size",
		"redis://u:s3cret@h:1,i:2":                    "addr=",
		"redis://u:s3cret@h/?addr=i:1&read_only=true": "replicas",
	} {
		c, err := cache.Open(t.Context(), raw, cache.Config{})
		if err == nil {
			c.Close()
		}
		if text := fmt.Sprint(err); !strings.Contains(text, want) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: got %v, want an error that names %q and no password", raw, err, want)
		}
	}
}
