package main

import (
	"context"
	"net/http"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// A client that has changed something reads its change. The response to a change
// carries a token, which names the moment of the commit; the client brings it
// along, a browser as a cookie, others in a header; and reads with it are served
// from the cache only where Freshet has applied that commit. Before, within the
// millisecond or two that this takes, they go to the database.
const (
	tokenHeader = "Freshet-Token" //nolint:gosec // the name of a header is no secret
	tokenCookie = "freshet_token"
	// tokenAge is how long browsers bring the token along. By then Freshet is past
	// it, or somebody has been alarmed.
	tokenAge = 5 * time.Minute
)

// giveToken puts a token into the response to a change that has been committed.
func (s *shop) giveToken(ctx context.Context, w http.ResponseWriter) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	token, err := cache.TokenFrom(ctx, s.db)
	if err != nil {
		// The change is made. For a moment its author may not see it.
		s.logger.ErrorContext(ctx, "no token after a change", "error", err)
		return
	}
	w.Header().Set(tokenHeader, token.String())
	http.SetCookie(w, &http.Cookie{
		Name: tokenCookie, Value: token.String(), Path: "/", MaxAge: int(tokenAge.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// freshness returns what a request asks of the values it reads.
func (s *shop) freshness(r *http.Request) ([]cache.CallOption, error) {
	text := r.Header.Get(tokenHeader)
	if text == "" {
		if cookie, err := r.Cookie(tokenCookie); err == nil {
			text = cookie.Value
		}
	}
	if !s.fresh || text == "" {
		return nil, nil
	}
	token, err := cache.ParseToken(text)
	if err != nil {
		return nil, badRequestError("the " + tokenHeader + " cannot be read")
	}
	return []cache.CallOption{cache.AtLeast(token)}, nil
}
