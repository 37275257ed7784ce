package lp2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
)

// A host that is asked for peers answers with the address records that they
// have signed themselves, each as two bytes of length and the record, and ends
// the stream. The asker writes nothing.
const (
	recordsMax = 32      // records of one answer
	recordMax  = 4 << 10 // bytes of one record
)

// records are the address records of the connected peers of our network.
type records struct {
	mu sync.Mutex
	of map[peer.ID]*record.Envelope
}

func (r *records) get(p peer.ID) *record.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[p]
}

// put keeps a peer's record, or forgets it with nil.
func (r *records) put(p peer.ID, e *record.Envelope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e == nil {
		delete(r.of, p)
		return
	}
	r.of[p] = e
}

// tellPeers answers a stream with the records of the connected peers.
func (h *Host) tellPeers(s network.Stream) {
	if err := h.writePeers(s); err != nil {
		_ = s.Reset() // it is broken already
		return
	}
	_ = s.Close() // all is written; if it broke, the asker notices
}

func (h *Host) writePeers(s network.Stream) error {
	if err := s.SetDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	w := bufio.NewWriter(s)
	told := 0
	for _, p := range h.host.Network().Peers() {
		envelope := h.known.get(p)
		if p == s.Conn().RemotePeer() || envelope == nil {
			continue
		}
		b, err := envelope.Marshal()
		if err != nil || len(b) > recordMax {
			continue // it came from the network: not our fault
		}
		var size [2]byte
		binary.BigEndian.PutUint16(size[:], uint16(len(b)))
		if _, err := w.Write(append(size[:], b...)); err != nil {
			return err
		}
		if told++; told == recordsMax {
			break
		}
	}
	return w.Flush()
}

// askPeers returns the peers that p tells of. Each has signed its own addresses:
// p can keep silent about a peer and cannot lie about it.
func (h *Host) askPeers(ctx context.Context, p peer.ID) ([]peer.AddrInfo, error) {
	s, err := h.host.NewStream(ctx, p, h.askProtocol())
	if err != nil {
		return nil, fmt.Errorf("ask for peers: %w", err)
	}
	defer func() { _ = s.Reset() }() // what was of use has been read
	if err := s.SetDeadline(time.Now().Add(askTime)); err != nil {
		return nil, fmt.Errorf("ask for peers: %w", err)
	}
	if err := s.CloseWrite(); err != nil {
		return nil, fmt.Errorf("ask for peers: %w", err)
	}
	var out []peer.AddrInfo
	r := bufio.NewReader(s)
	for range recordsMax {
		info, err := readRecord(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			h.stats.refused.Add(1)
			return out, fmt.Errorf("ask for peers: %w", err)
		}
		out = append(out, info)
	}
	return out, nil
}

// readRecord reads one signed record. It returns io.EOF at the end of an answer.
func readRecord(r io.Reader) (peer.AddrInfo, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return peer.AddrInfo{}, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > recordMax {
		return peer.AddrInfo{}, fmt.Errorf("record of %d bytes, at most %d may come", n, recordMax)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return peer.AddrInfo{}, noEOF(err)
	}
	envelope, rec, err := record.ConsumeEnvelope(b, peer.PeerRecordEnvelopeDomain)
	if err != nil {
		return peer.AddrInfo{}, err
	}
	told, ok := rec.(*peer.PeerRecord)
	if !ok || !told.PeerID.MatchesPublicKey(envelope.PublicKey) {
		return peer.AddrInfo{}, errors.New("record is not signed by the peer it is about")
	}
	if _, err := PeerIDOf(told.PeerID); err != nil {
		return peer.AddrInfo{}, err
	}
	return peer.AddrInfo{ID: told.PeerID, Addrs: told.Addrs}, nil
}
