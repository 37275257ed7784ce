package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pinfi/pinfi/p2p"
)

// putBlob stores the body of a request.
func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) {
	limit := s.cfg.Limits.Blob
	tooLarge := problem(http.StatusRequestEntityTooLarge, CodeTooLarge,
		"file of more than %d bytes: the node takes no larger one", limit)
	if r.ContentLength > limit {
		tooLarge.write(w)
		return
	}
	body := &patientBody{Reader: http.MaxBytesReader(w, r.Body, limit), control: http.NewResponseController(w)}
	// The bound is the body's own; the store's is one more, so that it never hides it.
	d, size, err := s.cfg.Files.Put(r.Context(), body, limit+1)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		tooLarge.write(w)
		return
	}
	if err != nil && body.broken != nil {
		problem(http.StatusBadRequest, CodeBadRequest, "the file did not arrive whole: %v", err).write(w)
		return
	}
	if err != nil {
		problem(http.StatusInternalServerError, CodeInternal, "%v", err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(Blob{Digest: d, Size: size}) // who does not listen is not told
}

// A patientBody gives every read of a body, and what is written afterwards, its
// own deadline.
type patientBody struct {
	io.Reader
	control *http.ResponseController
	broken  error // what ended the reading, if not its end
}

// Read implements io.Reader.
func (p *patientBody) Read(b []byte) (int, error) {
	at := time.Now().Add(moveTimeout)
	_ = p.control.SetReadDeadline(at)                   // every connection of net/http has deadlines
	_ = p.control.SetWriteDeadline(at.Add(moveTimeout)) // as above
	n, err := p.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		p.broken = err
	}
	return n, err
}

// getBlob sends a file, all of which was hashed first.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) {
	d, err := p2p.ParseDigest(r.PathValue("digest"))
	if err != nil {
		problem(http.StatusUnprocessableEntity, CodeInvalid, "%v", err).write(w)
		return
	}
	if !s.cfg.Files.Has(d) {
		unknownBlob(d).write(w)
		return
	}
	file, size, err := s.cfg.Files.Verified(r.Context(), d)
	if err != nil {
		problem(http.StatusInternalServerError, CodeUnreadable, "%v", err).write(w)
		return
	}
	defer file.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("X-Content-Type-Options", "nosniff") // it may be anything
	h.Set("Content-Disposition", "attachment")
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(&patientWriter{w, http.NewResponseController(w)}, file); err != nil {
		s.cfg.Log.Debug("file not sent", "digest", d.Short(), "error", err)
	}
}

// A patientWriter gives every write its own deadline.
type patientWriter struct {
	io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(moveTimeout)) // every connection of net/http has deadlines
	return p.Writer.Write(b)
}

func unknownBlob(d p2p.Digest) *ProblemError {
	return problem(http.StatusNotFound, CodeUnknownBlob,
		"file %v is not among the node's; outputs are there once their task has ended", d)
}

// A blobPath names a file.
type blobPath struct {
	Digest p2p.Digest `path:"digest" pattern:"^[0-9a-f]{64}$"`
}

func (s *Server) output(ctx context.Context, in *blobPath) (*reply[Output], error) {
	if !s.cfg.Files.Has(in.Digest) {
		return nil, unknownBlob(in.Digest)
	}
	files, err := s.cfg.Manifest(ctx, in.Digest)
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, CodeNotManifest, "%v", err)
	}
	return &reply[Output]{Output{Digest: in.Digest, Files: orEmpty(files)}}, nil
}
