package transporttest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// streamSize is how many bytes the stream test carries each way.
const streamSize = 8 << 20

// Eight mebibytes cross each way at once, and each side learns of the end.
func testStream(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	there, back := randomBytes(1), randomBytes(2)
	caller := make(chan p2p.PeerID, 1)
	served := make(chan error, 1)
	all[1].HandleStream(bulk, func(from p2p.PeerID, s transport.Stream) {
		caller <- from
		served <- exchange(s, back, there)
	})
	s, err := all[0].OpenStream(within(t), all[1].Self(), bulk)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	if err := exchange(s, there, back); err != nil {
		t.Errorf("the opening side: %v", err)
	}
	if err := await(t, served); err != nil {
		t.Errorf("the serving side: %v", err)
	}
	if from := await(t, caller); from != all[0].Self() {
		t.Errorf("stream comes from %v, want %v", from, all[0].Self())
	}
	if err := s.Close(); err != nil {
		t.Errorf("close stream: %v", err)
	}
}

// exchange writes out, ends its half, and reads until the other side has ended:
// want must have come.
func exchange(s transport.Stream, out, want []byte) error {
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var wait sync.WaitGroup
	var writing error
	wait.Go(func() {
		_, err := s.Write(out)
		writing = errors.Join(err, s.CloseWrite())
	})
	in, err := io.ReadAll(s)
	wait.Wait()
	if err == nil && !bytes.Equal(in, want) {
		err = errors.New("other bytes came than were sent")
	}
	return errors.Join(err, writing)
}

func randomBytes(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, 0, streamSize)
	for len(b) < streamSize {
		v := r.Uint64()
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b
}

// A deadline ends a read that waits, and a later one lets it go on.
func testStreamDeadline(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	speak := make(chan struct{})
	all[1].HandleStream(bulk, func(_ p2p.PeerID, s transport.Stream) {
		<-speak
		_, _ = s.Write([]byte{7}) // the reader notices
	})
	s, err := all[0].OpenStream(within(t), all[1].Self(), bulk)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatalf("write: %v", err)
	}
	if err := s.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatalf("set deadline: %v", err)
	}
	b := make([]byte, 1)
	_, err = s.Read(b)
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("read past its deadline: %v, want a timeout", err)
	}
	if err := s.SetDeadline(time.Time{}); err != nil {
		t.Fatalf("lift deadline: %v", err)
	}
	close(speak)
	if _, err := io.ReadFull(s, b); err != nil || b[0] != 7 {
		t.Errorf("read %v, %v after the deadline was lifted", b, err)
	}
	_ = s.Close() // the other side has gone
}

// When the serving function returns, what it wrote is read, and then the end.
func testStreamEnd(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	all[1].HandleStream(bulk, func(_ p2p.PeerID, s transport.Stream) {
		_, _ = s.Write([]byte("bye")) // the reader notices
	})
	s, err := all[0].OpenStream(within(t), all[1].Self(), bulk)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("set deadline: %v", err)
	}
	if b, err := io.ReadAll(s); err != nil || string(b) != "bye" {
		t.Errorf("read %q, %v, want bye and the end", b, err)
	}
	_ = s.Close() // the other side has gone
}

// A reset breaks a read that waits on the other side.
func testStreamReset(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	broken := make(chan error, 1)
	all[1].HandleStream(bulk, func(_ p2p.PeerID, s transport.Stream) {
		_, err := io.ReadFull(s, make([]byte, 1))
		if err == nil {
			_, err = s.Write([]byte("go on"))
		}
		if err == nil {
			_, err = io.ReadAll(s)
		}
		broken <- err
	})
	s, err := all[0].OpenStream(within(t), all[1].Self(), bulk)
	if err != nil {
		t.Fatalf("open stream: %v", err)
	}
	if _, err := s.Write([]byte("half a sen")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := io.ReadFull(s, make([]byte, len("go on"))); err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := s.Reset(); err != nil {
		t.Fatalf("reset: %v", err)
	}
	if err := await(t, broken); err == nil {
		t.Error("the other side reads the end of a stream that was reset")
	}
	if _, err := s.Write([]byte("tence")); err == nil {
		t.Error("a stream can be written after its reset")
	}
}

// A stream on a protocol that nobody serves fails at the latest when it is read.
func testStreamForeign(t *testing.T, n Network) {
	all := joinAll(t, n, 2)
	s, err := all[0].OpenStream(within(t), all[1].Self(), other)
	if err != nil {
		return
	}
	if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read of a stream that nobody serves: %v, want an error", err)
	}
	_ = s.Reset() // it is broken already
}

// await returns what comes out of the channel.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-within(t).Done():
		t.Fatalf("waited %v", patience)
		panic("unreachable")
	}
}
