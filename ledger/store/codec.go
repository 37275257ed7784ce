package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"github.com/klauspost/compress/zstd"

	"github.com/pinfi/pinfi/p2p"
)

// Keys are "/r/<kind>/<key>" in hexadecimal digits, which no clean-up of paths
// changes and which sort as the bytes do.
const recordPrefix = "/r/"

// metaKey is where a store says whose it is: metaText and the network.
const (
	metaKey  = "/meta"
	metaText = "pinfi store 1 "
)

// keyOf returns the key of a record.
func keyOf(r Record) (ds.Key, error) {
	if len(r.Key) == 0 || len(r.Key) > 255 {
		return ds.Key{}, fmt.Errorf("key of %d bytes, kind %d: want 1 to 255", len(r.Key), r.Kind)
	}
	return ds.NewKey(recordPrefix + hex.EncodeToString([]byte{r.Kind}) + "/" + hex.EncodeToString(r.Key)), nil
}

// recordOf returns the record that a key names, without its value.
func recordOf(key string) (Record, error) {
	kind, name, ok := strings.Cut(strings.TrimPrefix(key, recordPrefix), "/")
	k, err := hex.DecodeString(kind)
	if err != nil || !ok || len(k) != 1 {
		return Record{}, fmt.Errorf("key %q: no record's", key)
	}
	b, err := hex.DecodeString(name)
	if err != nil || len(b) == 0 {
		return Record{}, fmt.Errorf("key %q: no record's", key)
	}
	return Record{Kind: k[0], Key: b}, nil
}

// A sealed value is a form, the CRC-32C of key, form and payload, and the payload.
const (
	formPlain  = 1
	formZstd   = 2
	sealedHead = 1 + 4

	compressMin = 8 << 10 // values up to this stay plain: frames are ids and digests
	sample      = 4 << 10 // how much of a value is tried first
)

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A codec seals and opens values.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// newCodec returns a codec that uses little memory.
func newCodec() *codec {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<17))
	if err != nil {
		panic(fmt.Sprintf("store: zstd encoder: %v", err))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxValue))
	if err != nil {
		panic(fmt.Sprintf("store: zstd decoder: %v", err))
	}
	return &codec{enc: enc, dec: dec}
}

// close frees what the codec holds.
func (c *codec) close() {
	_ = c.enc.Close() // nothing was streamed: there is nothing to lose
	c.dec.Close()
}

// seal returns what is stored for a value.
func (c *codec) seal(key string, value []byte) []byte {
	form, payload := byte(formPlain), value
	if len(value) > compressMin && c.shrinks(value[:min(len(value), sample)]) {
		if small := c.enc.EncodeAll(value, nil); len(small) < len(value)*7/8 {
			form, payload = formZstd, small
		}
	}
	out := make([]byte, 0, sealedHead+len(payload))
	out = append(out, form)
	out = binary.BigEndian.AppendUint32(out, checksum(key, form, payload))
	return append(out, payload...)
}

// shrinks reports whether the beginning of a value loses a quarter. Most of a ledger
// is keys, digests and signatures, which do not shrink, and trying takes as long as
// all else that a write does.
func (c *codec) shrinks(begin []byte) bool { return len(c.enc.EncodeAll(begin, nil)) < len(begin)*3/4 }

// open returns the value that was sealed under a key. It is never nil without an
// error.
func (c *codec) open(key string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealedHead {
		return nil, fmt.Errorf("value under %s: %d bytes, want %d or more", key, len(sealed), sealedHead)
	}
	form, payload := sealed[0], sealed[sealedHead:]
	if want := binary.BigEndian.Uint32(sealed[1:]); checksum(key, form, payload) != want {
		return nil, fmt.Errorf("value under %s: wrong checksum", key)
	}
	switch form {
	case formPlain:
		return append([]byte{}, payload...), nil
	case formZstd:
		value, err := c.dec.DecodeAll(payload, nil)
		if err != nil {
			return nil, fmt.Errorf("value under %s: %w", key, err)
		}
		return value, nil
	default:
		return nil, fmt.Errorf("value under %s: unknown form %d", key, form)
	}
}

// checksum returns the CRC-32C of a key, a form and a payload.
func checksum(key string, form byte, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, append([]byte(key), form))
	return crc32.Update(sum, castagnoli, payload)
}

// checkMeta refuses a store of another network or version, and claims a fresh one.
func (s *Store) checkMeta(ctx context.Context, network p2p.Network) (fresh bool, err error) {
	want := append([]byte(metaText), network[:]...)
	key := ds.NewKey(metaKey)
	sealed, err := s.data.Get(ctx, key)
	if errors.Is(err, ds.ErrNotFound) {
		if err := s.data.Put(ctx, key, s.codec.seal(metaKey, want)); err != nil {
			return false, fmt.Errorf("open store %s: %w", s.dir, err)
		}
		return true, nil
	}
	if err != nil {
		return false, unusable(s.dir, err)
	}
	have, err := s.codec.open(metaKey, sealed)
	if err != nil {
		return false, unusable(s.dir, err)
	}
	if !bytes.Equal(have, want) {
		return false, fmt.Errorf("open store %s: %w: choose another directory, or the genesis it was made with",
			s.dir, ErrForeign)
	}
	return false, nil
}

// scan calls f with every record's key and sealed value, in order of keys. f must
// copy what it keeps of the value. On disk it asks Pebble itself, because the
// datastore's query takes a damaged block for the end of the data.
func (s *Store) scan(ctx context.Context, f func(key string, sealed []byte) error) error {
	if s.disk == nil {
		return s.scanMemory(ctx, f)
	}
	it, err := s.disk.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte(recordPrefix), UpperBound: []byte("/r0"), // '0' follows '/'
	})
	if err != nil {
		return unusable(s.dir, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			break // Close returns it
		}
		if err := f(string(it.Key()), value); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unusable(s.dir, err)
	}
	return ctx.Err()
}

// scanMemory is scan in memory.
func (s *Store) scanMemory(ctx context.Context, f func(key string, sealed []byte) error) error {
	results, err := s.data.Query(ctx, query.Query{Prefix: "/r", Orders: []query.Order{query.OrderByKey{}}})
	if err != nil {
		return err
	}
	entries, err := results.Rest()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f(e.Key, e.Value); err != nil {
			return err
		}
	}
	return ctx.Err()
}
