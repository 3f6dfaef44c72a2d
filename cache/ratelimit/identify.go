package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// KeyFunc finds out on whose account a request goes. The error is ErrIdentifier
// if it says nothing about that; then the request is refused, not let through.
type KeyFunc func(*http.Request) (identifier string, err error)

// ByIP identifies clients by their address: "ip:203.0.113.7". All addresses of
// an IPv6 network of 64 bits are one client, as one subscriber has them all:
// "ip:2001:db8:1:2::/64".
//
// X-Forwarded-For is believed only as far as stated proxies wrote it. From a
// request that comes from one of them the entries are read from the right, and
// the first that is none of them is the client. Where an entry is no address,
// the client is who wrote it. Without proxies the header means nothing, and
// behind a proxy that is not stated all clients are that proxy.
//
// A request over a Unix socket has no address: ErrIdentifier.
func ByIP(proxies ...netip.Prefix) KeyFunc {
	proxies = slices.Clone(proxies)
	for i, p := range proxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			proxies[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	trusted := func(addr netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	return func(r *http.Request) (string, error) {
		addr, err := parseAddr(r.RemoteAddr)
		if err != nil {
			return "", fmt.Errorf("%w: remote address: %w", ErrIdentifier, err)
		}
		// Several headers are one list, in their order.
		lines := r.Header.Values("X-Forwarded-For")
		for i := len(lines) - 1; i >= 0 && trusted(addr); i-- {
			for rest := lines[i]; rest != "" && trusted(addr); {
				var last string
				if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
					rest, last = rest[:comma], rest[comma+1:]
				} else {
					rest, last = "", rest
				}
				next, err := parseAddr(strings.TrimSpace(last))
				if err != nil {
					return addrIdentifier(addr), nil //nolint:nilerr // the last that is known is the client
				}
				addr = next
			}
		}
		return addrIdentifier(addr), nil
	}
}

// parseAddr parses an address with or without a port.
func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		if bare, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(bare, "]") {
			addr, err = netip.ParseAddr(strings.TrimSuffix(bare, "]"))
		} else {
			var port netip.AddrPort
			port, err = netip.ParseAddrPort(s)
			addr = port.Addr()
		}
	}
	return addr.Unmap().WithZone(""), err
}

func addrIdentifier(addr netip.Addr) string {
	if addr.Is4() {
		return "ip:" + addr.String()
	}
	return "ip:" + netip.PrefixFrom(addr, 64).Masked().String()
}

// ByHeader identifies clients by a header, such as an API key that has been
// checked before. Only a hash of its value gets into Redis, as values are often
// secret: "x-api-key:" and 32 hexadecimal digits.
func ByHeader(name string) KeyFunc {
	prefix := strings.ToLower(name) + ":"
	return func(r *http.Request) (string, error) {
		value := r.Header.Get(name)
		if value == "" {
			return "", fmt.Errorf("%w: no header %s", ErrIdentifier, name)
		}
		sum := sha256.Sum256([]byte(value))
		return prefix + hex.EncodeToString(sum[:16]), nil
	}
}

// ByUser identifies clients by what a function finds, such as the user that
// authentication left in the request's context: "user:42". The function returns
// "" for nobody.
func ByUser(user func(*http.Request) string) KeyFunc {
	return func(r *http.Request) (string, error) {
		id := user(r)
		if id == "" {
			return "", fmt.Errorf("%w: no user", ErrIdentifier)
		}
		return "user:" + id, nil
	}
}

// FirstOf identifies clients by the first of several functions that can:
// FirstOf(ByUser(userOf), ByIP()) is for a service that strangers use too.
func FirstOf(keys ...KeyFunc) KeyFunc {
	return func(r *http.Request) (string, error) {
		err := ErrIdentifier
		for _, key := range keys {
			var id string
			if id, err = key(r); err == nil {
				return id, nil
			}
		}
		return "", err
	}
}
