package cache

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// tlsSettings is what a URL's own parameters say of TLS.
type tlsSettings struct {
	roots        *x509.CertPool // nil: the system's
	certificates []tls.Certificate
}

// tlsFiles reads the files that the URL names and returns the URL without them.
func tlsFiles(u *url.URL) (tlsSettings, string, error) {
	query := u.Query()
	ca, cert, key := query.Get("ca_file"), query.Get("cert_file"), query.Get("key_file")
	var s tlsSettings
	if ca == "" && cert == "" && key == "" {
		return s, u.String(), nil
	}
	if !strings.EqualFold(u.Scheme, "rediss") {
		return s, "", errors.New("ca_file, cert_file and key_file need rediss://")
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return s, "", fmt.Errorf("ca_file: %w", err)
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return s, "", fmt.Errorf("ca_file: %s holds no certificate in PEM", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return s, "", fmt.Errorf("cert_file and key_file: %w", err)
		}
		s.certificates = []tls.Certificate{pair}
	}
	for _, name := range []string{"ca_file", "cert_file", "key_file"} {
		query.Del(name)
	}
	rest := *u
	rest.RawQuery = query.Encode()
	return s, rest.String(), nil
}

func (s tlsSettings) apply(c *tls.Config) {
	if c == nil {
		return
	}
	if s.roots != nil {
		c.RootCAs = s.roots
	}
	if s.certificates != nil {
		c.Certificates = s.certificates
	}
}
