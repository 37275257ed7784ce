package api

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// guard lets only requests through that come from this machine, from no foreign
// web page, and with the token. Whoever is turned away learns why and nothing else.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.requests.enter() {
			problem(http.StatusServiceUnavailable, CodeUnavailable, "the node has stopped").write(w)
			return
		}
		defer s.requests.leave()
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(moveTimeout)) // every connection of net/http has deadlines
		refused := s.refuse(r)
		if refused == nil {
			next.ServeHTTP(w, r)
			return
		}
		// Its body is not worth reading: end the connection.
		_ = control.SetReadDeadline(time.Now().Add(time.Second)) // as above
		w.Header().Set("Connection", "close")
		if refused.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		refused.write(w)
	})
}

// refuse returns why a request may not be answered, or nil. Host comes first: a
// page of a foreign host whose name was made to point at this machine must not
// find out whether it guessed a token.
func (s *Server) refuse(r *http.Request) *ProblemError {
	if !local(r.Host) {
		return problem(http.StatusForbidden, CodeForeign,
			"host %.100q: this API answers to localhost and the loopback addresses only", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r.Host) {
		return problem(http.StatusForbidden, CodeForeign,
			"origin %.100q: this API answers to pages of its own only", origin)
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return problem(http.StatusForbidden, CodeForeign, "this API answers to pages of its own only")
	}
	if !s.cfg.Token.allows(r.Header.Get("Authorization")) {
		return problem(http.StatusUnauthorized, CodeUnauthorized,
			"no token, or a wrong one: want the header %q with what %s in the node's data folder holds",
			"Authorization: Bearer TOKEN", TokenFile)
	}
	return nil
}

// local reports whether the Host of a request names this machine: localhost or an
// address of the loopback, with or without a port.
func local(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// sameOrigin reports whether a page of the origin came from the host itself.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && strings.EqualFold(u.Host, host)
}

// route hands a request to its handler. Paths and methods that there are not are
// answered with a Problem too.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	// The mux knows why, and says it in words only: listen to it.
	var said answer
	h.ServeHTTP(&said, r)
	if said.status == http.StatusMethodNotAllowed {
		allow := said.Header().Get("Allow")
		w.Header().Set("Allow", allow)
		problem(said.status, CodeMethod, "%s on %.100q: it takes %s", r.Method, r.URL.Path, allow).write(w)
		return
	}
	problem(http.StatusNotFound, CodeNotFound,
		"path %.100q: there is no such thing here; GET /v1/openapi.json lists what there is", r.URL.Path).write(w)
}

// An answer keeps the head of an answer and drops its body.
type answer struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }
