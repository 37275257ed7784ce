package replica

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

var update = flag.Bool("update", false, "rewrite the vectors in testdata")

// vectors are frames whose bytes are published in testdata/vectors.
func vectors() map[string]*Frame {
	id := p2p.IdentityFromSeed([32]byte{2})
	out := map[string]*Frame{
		"frame-empty": {Chain: 1, Seq: 1},
		"frame-votes": {
			Chain: 0x1a2b3c4d, Epoch: 3, Witness: 99, Seq: 7, Prev: p2p.Digest{1, 31: 2}, Slot: 1 << 40,
			Votes: []ledger.OpID{{1}, {1, 1}, {0xff}},
		},
		"frame-seen": {
			Chain: 0x1a2b3c4d, Witness: 2, Seq: 1, Slot: 5,
			Seen:    []Seen{{0, 3, p2p.Digest{9}}, {1, 1, p2p.Digest{7}}, {1, 1, p2p.Digest{8}}},
			Bundles: []BundleVote{{ID: BundleID{1}}, {ID: BundleID{2}, Rejects: []uint16{0, 511}}},
		},
	}
	for _, f := range out { // order-free: each by itself
		f.Sig = id.Sign(f.SigningDigest())
	}
	return out
}

// [LED-24] A frame has one encoding, as the vectors show.
func TestVectors(t *testing.T) {
	for name, f := range vectors() {
		path := filepath.Join("testdata", "vectors", name+".txt")
		text := fmt.Sprintf("# id = %v\n%s\n", f.ID(), hex.EncodeToString(f.Encode()))
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != text {
			t.Errorf("%s\n got %s\nwant %s", name, text, want)
		}
		back, err := DecodeFrame(f.Encode())
		if err != nil || fmt.Sprint(back) != fmt.Sprint(f) {
			t.Errorf("%s decodes to %v, %v", name, back, err)
		}
	}
}

func TestDecodeFrameRefuses(t *testing.T) {
	good := vectors()["frame-votes"]
	swapped, twice, long := *good, *good, *good
	swapped.Votes = []ledger.OpID{{2}, {1}}
	twice.Votes = []ledger.OpID{{2}, {2}}
	long.Votes = make([]ledger.OpID, MaxVotes+1)
	version := good.Encode()
	version[0] = 0
	for name, b := range map[string][]byte{
		"empty": nil, "out of order": swapped.Encode(), "twice": twice.Encode(), "version": version,
		"short": good.Encode()[:100], "trailing": append(good.Encode(), 1),
	} {
		if f, err := DecodeFrame(b); err == nil {
			t.Errorf("%s: %v", name, f)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a frame over the limit was encoded")
		}
	}()
	long.Encode()
}

// FuzzDecodeFrame checks that what decodes encodes to the same bytes, and that no
// frame makes a replica panic.
func FuzzDecodeFrame(f *testing.F) {
	for _, x := range vectors() {
		f.Add(x.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeFrame(b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, x.Encode())
		}
		g := newGenesis(1, 1, 1)
		r := newReplica(t, g, 0)
		x.Chain, x.Witness = r.State().Chain(), x.Witness%3
		x.Epoch = 0
		r.AddFrame(signed(g, x))
		r.HasVotes()
		r.Heads()
	})
}

// [LED-80] A frame that says to have seen what does not exist does not keep a replica from getting what comes next.
func TestLacking(t *testing.T) {
	g := newGenesis(1, 1, 1)
	from, to := newReplica(t, g, -1), newReplica(t, g, -1)
	var chain []*Frame
	var last *Frame
	for i := range 20 {
		last = frame(g, 0, last, ledger.OpID{byte(i + 1)})
		chain = append(chain, last)
		from.AddFrame(last)
	}
	for _, f := range chain[:8] {
		to.AddFrame(f)
	}
	lie := draft(1, nil)
	lie.Seen = []Seen{{Witness: 0, Seq: 1, ID: p2p.Digest{9}}}
	ahead := draft(2, nil)
	ahead.Seen = []Seen{{Witness: 0, Seq: 20, ID: chain[19].ID()}}
	for _, f := range []*Frame{lie, ahead} {
		if out := to.AddFrame(signed(g, f)); out != Parked {
			t.Fatalf("frame: %v", out)
		}
	}
	if got := to.Lacking(9); !slices.Equal(got, []p2p.Digest{{9}}) {
		t.Errorf("asks for %v, want the one that heads do not ask for", got)
	}
	for range 3 {
		give(from, to)
	}
	if got := to.Heads()[0]; got != 20 {
		t.Errorf("head %d after three answers of four frames, want 20", got)
	}
	if got := to.Heads()[2]; got != 1 || !to.Parked() {
		t.Errorf("the frame that waited for the last is at %d, parked %v", got, to.Parked())
	}
}
