package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"sync"
	"time"

	"github.com/pinfi/pinfi/p2p"
)

// The ways in which a client does not get through. Problems that the node itself
// has come as *ProblemError.
var (
	// ErrNoNode says that no node answers there.
	ErrNoNode = errors.New("no node answers")
	// ErrBroken says that bytes arrived that are not those that were sent.
	ErrBroken = errors.New("bytes have another digest than they should")
)

// bodyMax is how many bytes of JSON a client takes from a node.
const bodyMax = 64 << 20

// A Client speaks to one node. Its methods may be called from any goroutine. They
// fail with a *ProblemError when the node refuses, and with ErrNoNode when there is
// none.
type Client struct {
	http  *http.Client
	where string // for people
	base  string
	token Token

	mu   sync.Mutex
	told map[p2p.Digest]uint64 // last event of each job that a caller was told of
}

// Dial returns a client of the node that listens on a unix socket. It does not
// connect yet: the first call does.
func Dial(socket string, token Token) (*Client, error) {
	if err := CheckSocket(socket); err != nil {
		return nil, err
	}
	return newClient(socket, "localhost", token, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	})
}

// DialTCP returns a client of the node that listens on an address of the loopback.
func DialTCP(addr string, token Token) (*Client, error) {
	return newClient(addr, addr, token, (&net.Dialer{}).DialContext)
}

func newClient(
	where, host string, token Token, dial func(ctx context.Context, network, addr string) (net.Conn, error),
) (*Client, error) {
	if err := token.validate(); err != nil {
		return nil, fmt.Errorf("dial %s: %w", where, err)
	}
	transport := &http.Transport{
		DialContext: dial, DisableCompression: true, MaxResponseHeaderBytes: headerMax, IdleConnTimeout: idleTimeout,
		ExpectContinueTimeout: time.Second,
	}
	return &Client{
		http: &http.Client{Transport: transport}, where: where, base: "http://" + host, token: token,
		told: make(map[p2p.Digest]uint64),
	}, nil
}

// Close ends the idle connections of the client.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns how the node stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Ledger returns how the node's ledger stands, and what an account has, unless it
// is zero.
func (c *Client) Ledger(ctx context.Context, account p2p.PeerID) (Ledger, error) {
	where := "/v1/ledger"
	if !account.IsZero() {
		where += "?account=" + account.String()
	}
	return get[Ledger](ctx, c, where)
}

// History returns at most limit applied operations of an account, or for it, the
// newest first; of all accounts when it is zero.
func (c *Client) History(ctx context.Context, account p2p.PeerID, limit int) ([]Entry, error) {
	where := fmt.Sprintf("/v1/ledger/history?limit=%d", limit)
	if !account.IsZero() {
		where += "&account=" + account.String()
	}
	out, err := get[History](ctx, c, where)
	return out.Entries, err
}

// Prove returns a proof of what a lane of an account holds. Its Check must be called:
// the node is not to be trusted.
func (c *Client) Prove(ctx context.Context, account p2p.PeerID, lane uint8) (LaneProof, error) {
	return get[LaneProof](ctx, c, fmt.Sprintf("/v1/ledger/proof?account=%v&lane=%d", account, lane))
}

// Pay orders payments and returns the id of the order once the node has it on disk.
// With an id in the order it can be repeated without paying twice.
func (c *Client) Pay(ctx context.Context, o PayOrder) (Ticket, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return Ticket{}, fmt.Errorf("order to pay: %w", err)
	}
	return call[Ticket](ctx, c, http.MethodPost, "/v1/payments", bytes.NewReader(body))
}

// Payments returns how an order to pay stands: counts only, or each payment as well.
func (c *Client) Payments(ctx context.Context, id p2p.Digest, brief bool) (Payments, error) {
	return get[Payments](ctx, c, fmt.Sprintf("/v1/payments/%v?brief=%v", id, brief))
}

// Devices returns all devices of the network, by class and owner.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	out, err := get[Devices](ctx, c, "/v1/devices")
	return out.Devices, err
}

// SubmitJob orders a job and returns its id once the node has it on disk. With an
// id in the order it can be repeated without ordering twice.
func (c *Client) SubmitJob(ctx context.Context, o Order) (Ticket, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return Ticket{}, fmt.Errorf("order: %w", err)
	}
	return call[Ticket](ctx, c, http.MethodPost, "/v1/jobs", bytes.NewReader(body))
}

// Jobs returns the node's jobs in the order in which they came.
func (c *Client) Jobs(ctx context.Context) ([]Summary, error) {
	out, err := get[Jobs](ctx, c, "/v1/jobs")
	return out.Jobs, err
}

// Job returns how a job stands.
func (c *Client) Job(ctx context.Context, id p2p.Digest) (Job, error) {
	return get[Job](ctx, c, "/v1/jobs/"+id.String())
}

// Stop asks the node's process to end.
func (c *Client) Stop(ctx context.Context) error {
	_, err := call[Stopping](ctx, c, http.MethodPost, "/v1/stop", nil)
	return err
}

// PutBlob stores all that r yields among the node's files. When the node has
// stored other bytes the error is ErrBroken.
func (c *Client) PutBlob(ctx context.Context, r io.Reader) (Blob, error) {
	hash := sha256.New()
	req, err := c.request(ctx, http.MethodPut, "/v1/blobs", io.TeeReader(r, hash))
	if err != nil {
		return Blob{}, err
	}
	req.ContentLength = lengthOf(r)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue") // a refusal then comes before the bytes go
	b, err := do[Blob](c, req)
	if err == nil && b.Digest != p2p.Digest(hash.Sum(nil)) {
		return Blob{}, fmt.Errorf("put file: %w: the node says %v", ErrBroken, b.Digest)
	}
	return b, err
}

// lengthOf returns how many bytes r will yield, or -1 when that is not known.
func lengthOf(r io.Reader) int64 {
	switch r := r.(type) {
	case interface{ Len() int }:
		return int64(r.Len())
	case *os.File:
		info, err := r.Stat()
		at, seekErr := r.Seek(0, io.SeekCurrent)
		if err == nil && seekErr == nil && info.Mode().IsRegular() && info.Size() > at {
			return info.Size() - at
		}
	}
	return -1
}

// GetBlob writes a file of the node to w and returns its size in bytes. When it
// fails, with ErrBroken say, what was written must be thrown away.
func (c *Client) GetBlob(ctx context.Context, w io.Writer, d p2p.Digest) (int64, error) {
	req, err := c.request(ctx, http.MethodGet, "/v1/blobs/"+d.String(), nil)
	if err != nil {
		return 0, err
	}
	res, err := c.send(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), res.Body)
	if err != nil {
		return n, fmt.Errorf("get file %v: %w", d.Short(), err)
	}
	if p2p.Digest(hash.Sum(nil)) != d {
		return n, fmt.Errorf("get file %v: %w", d.Short(), ErrBroken)
	}
	return n, nil
}

// Output returns the names of the files that a task wrote.
func (c *Client) Output(ctx context.Context, d p2p.Digest) (Output, error) {
	return get[Output](ctx, c, "/v1/outputs/"+d.String())
}

// SaveOutput writes the files of an output below dir, which it makes, and returns
// their names. Nothing is written outside dir, whatever the names are. A file
// that is there already is replaced as a whole or not at all.
func (c *Client) SaveOutput(ctx context.Context, d p2p.Digest, dir string) (Output, error) {
	out, err := c.Output(ctx, d)
	if err != nil {
		return Output{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Output{}, fmt.Errorf("save output: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Output{}, fmt.Errorf("save output: %w", err)
	}
	defer root.Close()
	for _, f := range out.Files {
		if err := c.saveFile(ctx, root, f); err != nil {
			return Output{}, fmt.Errorf("save output %s: %w", f.Path, err)
		}
	}
	return out, nil
}

// saveFile writes one file below root: under another name first.
func (c *Client) saveFile(ctx context.Context, root *os.Root, f File) error {
	if !fs.ValidPath(f.Path) || f.Path == "." {
		return errors.New("the name leads out of the folder")
	}
	if err := root.MkdirAll(path.Dir(f.Path), 0o777); err != nil {
		return err
	}
	part := path.Join(path.Dir(f.Path), ".pinfi-"+p2p.SumContent([]byte(f.Path)).Short()+".part")
	_ = root.Remove(part) // of an earlier, interrupted call
	file, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = c.GetBlob(ctx, file, f.Digest)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = root.Rename(part, f.Path)
	}
	if err != nil {
		_ = root.Remove(part) // the first error says more
	}
	return err
}

func get[T any](ctx context.Context, c *Client, where string) (T, error) {
	return call[T](ctx, c, http.MethodGet, where, nil)
}

// call sends a request with a JSON body or none, and reads the JSON answer.
func call[T any](ctx context.Context, c *Client, method, where string, body io.Reader) (T, error) {
	req, err := c.request(ctx, method, where, body)
	if err != nil {
		var none T
		return none, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return do[T](c, req)
}

func do[T any](c *Client, req *http.Request) (T, error) {
	var out T
	res, err := c.send(req)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, bodyMax)).Decode(&out); err != nil {
		return out, fmt.Errorf("answer of the node at %s: %w", c.where, err)
	}
	return out, nil
}

func (c *Client) request(ctx context.Context, method, where string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+where, body)
	if err != nil {
		return nil, fmt.Errorf("ask the node at %s: %w", c.where, err)
	}
	req.Header.Set("Authorization", "Bearer "+string(c.token))
	return req, nil
}

// send sends a request. An answer that is not a success is returned as an error.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return nil, fmt.Errorf("%w at %s: %w", ErrNoNode, c.where, op.Err)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it repeats the request
	}
	if err != nil {
		return nil, fmt.Errorf("ask the node at %s: %w", c.where, err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	p := &ProblemError{}
	if err := json.NewDecoder(io.LimitReader(res.Body, bodyMax)).Decode(p); err != nil || p.Code == "" {
		return nil, fmt.Errorf("ask the node at %s: it answers %q and nothing else: is it another program?",
			c.where, res.Status)
	}
	return nil, p
}
