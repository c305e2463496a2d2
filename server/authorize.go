package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"wend/access"
)

// authorize lets a request through to its route, with what its caller may do,
// or says why not.
func (s *Server) authorize(rt route, r *http.Request) (*http.Request, error) {
	if slices.Contains(rt.scopes, anyone) {
		return r, nil
	}
	grant := access.Grant{Scopes: access.Scopes}
	if s.opt.Access != nil && s.opt.Access.Required() {
		var err error
		if grant, err = s.opt.Access.Grant(bearer(r)); errors.Is(err, access.ErrRefused) {
			if err := s.charge(rt, r, ""); err != nil {
				return r, err
			}
			return r, errNoToken
		} else if err != nil {
			s.log.Error("the tokens cannot be read; every call is refused until they can", "error", err)
			return r, &apiError{Status: http.StatusServiceUnavailable, Code: "tokens_unreadable", Message: "the server cannot read its tokens", Retry: true}
		}
	}
	if err := s.charge(rt, r, grant.ID); err != nil {
		return r, err
	}
	if !grant.Has(rt.scopes...) {
		return r, missingScope("this call needs", rt.scopes...)
	}
	return r.WithContext(context.WithValue(r.Context(), grantKey{}, grant)), nil
}

// errNoToken is the one answer to no token and to every token that does not
// hold, so that nobody learns which tokens there were.
var errNoToken = &apiError{Status: http.StatusUnauthorized, Code: "unauthorized", Message: "this server wants a valid token",
	Hint: "send Authorization: Bearer and the token; wend token DB create makes one"}

func missingScope(what string, scopes ...access.Scope) *apiError {
	return &apiError{Status: http.StatusForbidden, Code: "missing_scope", Message: what + " a token with the scope " + access.JoinScopes(scopes, " or "),
		Hint: "wend token DB create --scope makes one"}
}

type grantKey struct{}

// granted is what the caller of a route may do.
func granted(r *http.Request) access.Grant {
	g, _ := r.Context().Value(grantKey{}).(access.Grant)
	return g
}

// bearer is the token of a request. What is not one is the token of nobody:
// it takes the way of all that do not hold.
func bearer(r *http.Request) access.Token {
	sent := r.Header["Authorization"]
	if len(sent) != 1 {
		return access.Token{}
	}
	scheme, text, _ := strings.Cut(sent[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return access.Token{}
	}
	token, err := access.ParseToken(strings.TrimSpace(text))
	if err != nil {
		return access.Token{}
	}
	return token
}

// secretParameters are where other servers take tokens from an address.
var secretParameters = []string{"access_token", "token", "api_key", "apikey", "authorization", "bearer"}

// noTokenInURL refuses tokens in addresses, which browsers, proxies and logs
// keep. Such a token is to be revoked.
func noTokenInURL(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := access.Contains(r.URL.Path)
		if r.URL.RawQuery != "" && !found {
			for name, values := range r.URL.Query() {
				found = found || access.Contains(name) || slices.ContainsFunc(values, access.Contains) || slices.Contains(secretParameters, strings.ToLower(name))
			}
		}
		if found {
			writeError(w, badRequest("token_in_url", "a token does not belong into an address, which logs and browsers keep", "revoke it, and send a new one in the header Authorization"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
