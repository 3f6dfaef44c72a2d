package config

import (
	"net/url"
	"os"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// secret is a value that may stand in the file or in a file of its own: name
// and name_file.
func (d *decoder) secret(name string, to *string) []field {
	given := ""
	set := func(path, value string, n ast.Node) {
		if given != "" {
			d.failAt(n, path, "given twice, as "+given+" too", "remove one of them")
			return
		}
		given = path
		*to = value
	}
	return []field{
		{name: name, shape: shape{kind: kindSecret}, decode: func(path string, n ast.Node) {
			d.secrets[n] = true
			if s, ok := d.scalar(path, n, "text"); ok {
				set(path, s.text, n)
			}
		}},
		{name: name + "_file", shape: shape{kind: kindPath}, decode: func(path string, n ast.Node) {
			if value, ok := d.secretFile(path, n); ok {
				set(path, value, n)
			}
		}},
	}
}

// secretURL is a URL that may hold a password, which may also stand apart, in
// the file or in one of its own.
func (d *decoder) secretURL(to *string, check func(string) (want, remedy string), setPassword func(address, password string) (string, bool)) []field {
	var password string
	var passwordNode ast.Node
	var passwordPath string
	// Whichever comes last puts the two together.
	finish := func() {
		if *to == "" || passwordNode == nil {
			return
		}
		with, ok := setPassword(*to, password)
		if !ok {
			d.failAt(passwordNode, passwordPath, "the URL cannot take a password, or has one already", "remove one of them")
			return
		}
		*to = with
	}
	checked := func(path, value string, n ast.Node) {
		if want, remedy := check(value); want != "" {
			// What it is may be a secret in the wrong place: it is not shown.
			d.failAt(n, path, "want "+want, remedy)
			return
		}
		*to = value
		finish()
	}
	apart := func(path, value string, n ast.Node) {
		if passwordNode != nil {
			d.failAt(n, path, "given twice, as "+passwordPath+" too", "remove one of them")
			return
		}
		password, passwordNode, passwordPath = value, n, path
		finish()
	}
	return []field{
		{name: "url", shape: shape{kind: kindSecret}, decode: func(path string, n ast.Node) {
			d.secrets[n] = true
			if s, ok := d.scalar(path, n, "text"); ok {
				checked(path, s.text, n)
			}
		}},
		{name: "url_file", shape: shape{kind: kindPath}, decode: func(path string, n ast.Node) {
			value, ok := d.secretFile(path, n)
			switch {
			case !ok:
			case *to != "":
				d.failAt(n, path, "given twice, as url too", "remove one of them")
			default:
				checked(path, value, n)
			}
		}},
		{name: "password", shape: shape{kind: kindSecret}, decode: func(path string, n ast.Node) {
			d.secrets[n] = true
			if s, ok := d.scalar(path, n, "text"); ok && s.text != "" {
				apart(path, s.text, n)
			}
		}},
		{name: "password_file", shape: shape{kind: kindPath}, decode: func(path string, n ast.Node) {
			if value, ok := d.secretFile(path, n); ok {
				apart(path, value, n)
			}
		}},
	}
}

// secretText is a text that may hold a password: what is wrong with it is said
// without showing it.
func (d *decoder) secretText(name string, to *string, check func(string) (want, remedy string)) field {
	return field{name: name, shape: shape{kind: kindSecret}, decode: func(path string, n ast.Node) {
		d.secrets[n] = true
		s, ok := d.scalar(path, n, "text")
		if !ok {
			return
		}
		if want, remedy := check(s.text); want != "" {
			d.failAt(n, path, "want "+want, remedy)
			return
		}
		*to = s.text
	}}
}

// secretFile reads the file that a value names.
func (d *decoder) secretFile(path string, n ast.Node) (string, bool) {
	s, ok := d.scalar(path, n, "the path of a file")
	if !ok || s.text == "" {
		return "", false
	}
	data, err := os.ReadFile(s.text)
	if err != nil {
		e := unreadable(s.text, err)
		d.fail(d.errorIn(s, 0, 0, path, quoted(s.raw)+": "+strings.Replace(e.Message, "the configuration", "the secret", 1), "write the secret to a file that freshet can read"))
		return "", false
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		d.fail(d.errorIn(s, 0, 0, path, quoted(s.raw)+": the file is empty", ""))
		return "", false
	}
	return value, true
}

func checkPostgresURL(text string) (want, remedy string) {
	const kinds = "a postgres:// URL, or keywords and values such as host=db user=freshet dbname=shop"
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		if _, err := url.Parse(text); err != nil {
			return kinds, "percent-encode special characters in user and password"
		}
		return "", ""
	}
	if text == "" || strings.Contains(text, "=") && !strings.Contains(text, "://") {
		return "", ""
	}
	return kinds, ""
}

func checkNATSURL(text string) (want, remedy string) {
	if text == "" {
		return "", ""
	}
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil || u.Host == "" {
			return "a nats:// URL", ""
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "a nats://, tls://, ws:// or wss:// URL", ""
		}
	}
	return "", ""
}

func checkCacheURL(text string) (want, remedy string) {
	const kinds = "a redis://, rediss://, unix:// or memory:// URL"
	if text == "" {
		return "", ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return kinds, "percent-encode special characters in user and password"
	}
	switch u.Scheme {
	case "redis", "rediss", "unix", "memory":
		return "", ""
	}
	return kinds, ""
}

// setURLPassword puts a password into a URL that has none.
func setURLPassword(address, password string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "memory" {
		return "", false
	}
	if _, has := u.User.Password(); has {
		return "", false
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), true
}

// setCachePassword does the same for Redis. A URL that names a Sentinel has the
// Sentinel's user before the host, and Redis' in its query.
func setCachePassword(address, password string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	query := u.Query()
	if query.Get("master_name") == "" {
		return setURLPassword(address, password)
	}
	if query.Has("password") {
		return "", false
	}
	query.Set("password", password)
	u.RawQuery = query.Encode()
	return u.String(), true
}

// setPostgresPassword does the same for both forms of connection strings.
func setPostgresPassword(address, password string) (string, bool) {
	if strings.Contains(address, "://") {
		return setURLPassword(address, password)
	}
	if strings.Contains(address, "password") {
		return "", false
	}
	escaped := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
	return address + " password='" + escaped + "'", true
}
