package world

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A fold is a 64-bit digest that is built a word at a time. It is fast and not
// secure: it tells runs apart, it does not resist an enemy. The step is the folded
// multiplication of wyhash (Wang Yi, 2019).
type fold uint64

func (f *fold) word(v uint64) {
	high, low := bits.Mul64(uint64(*f)^0xa0761d6478bd642f, v^0xe7037ed1a0b428db)
	*f = fold(high ^ low ^ bits.RotateLeft64(v, 23))
}

func (f *fold) bytes(b []byte) {
	f.word(uint64(len(b)))
	for len(b) >= 8 {
		f.word(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	f.word(binary.LittleEndian.Uint64(last[:]))
}

func (f *fold) text(s string) {
	f.word(uint64(len(s)))
	for i := range len(s) {
		f.word(uint64(s[i]))
	}
}

// content returns a digest of bytes, under a salt.
func content(b []byte, salt uint64) uint64 {
	f := fold(salt)
	f.bytes(b)
	return uint64(f)
}

// Numbers that tell kinds of event and effect apart in a trace. They are
// append-only, so that traces of two versions can be compared.
const (
	sumGossiped = iota + 1
	sumReceived
	sumPeerUp
	sumPeerDown
	sumSubmit
	sumJobStarted
	sumJobDone
	sumFetched
	sumProved
	sumOpened
	sumChecked
	sumTick
	sumPublish
	sumSend
	sumSave
	sumRunJob
	sumStopJob
	sumFetch
	sumProve
	sumOpen
	sumCheck
	sumNote
	sumCrash
	sumRestart
	sumVerify
	sumVerified
	sumPay
)

// eventSum returns a digest of an event's kind and content.
func eventSum(ev machine.Event) uint64 {
	var f fold
	switch ev := ev.(type) {
	case machine.Gossiped:
		f = sumGossiped
		f.bytes(ev.Data)
	case machine.Received:
		f = sumReceived
		f.bytes(ev.From[:])
		f.bytes(ev.Data)
	case machine.PeerUp:
		f = sumPeerUp
		f.bytes(ev.Peer[:])
	case machine.PeerDown:
		f = sumPeerDown
		f.bytes(ev.Peer[:])
	case machine.Submit:
		f = sumSubmit
		f.bytes(ev.Job.ID[:])
	case machine.Pay:
		f = sumPay
		f.bytes(ev.ID[:])
	case machine.JobStarted:
		f = sumJobStarted
		f.bytes(ev.Lease[:])
	case machine.JobDone:
		f = sumJobDone
		f.bytes(ev.Lease[:])
		f.bytes(ev.Output[:])
		f.word(uint64(ev.Exit)<<8 | uint64(ev.Source))
		f.text(ev.Text)
	case machine.Fetched:
		f = sumFetched
		f.bytes(ev.Lease[:])
		f.text(ev.Text)
	case machine.Proved:
		f = sumProved
		f.word(uint64(ev.Storm)<<16 | uint64(ev.Rounds))
		f.bytes(ev.Last[:])
	case machine.Opened:
		f = sumOpened
		f.bytes(ev.Commit[:])
	case machine.Checked:
		f = sumChecked
		f.bytes(ev.Commit[:])
		f.word(uint64(ev.Fault))
	case machine.Verified:
		f = sumVerified
		f.word(ev.ID)
		for i, ok := range ev.OK {
			if !ok {
				f.word(uint64(i))
			}
		}
	case machine.Tick:
		f = sumTick
	default:
		panic(fmt.Sprintf("world: unknown event %T", ev))
	}
	return uint64(f)
}

// effectSum returns a digest of an effect's kind and content.
func effectSum(fx machine.Effect) uint64 {
	var f fold
	switch fx := fx.(type) {
	case machine.Publish:
		f = sumPublish
		f.bytes(fx.Data)
	case machine.Send:
		f = sumSend
		f.bytes(fx.To[:])
		f.bytes(fx.Data)
	case machine.Save:
		f = sumSave
		for i := range fx.Batch {
			f.word(uint64(fx.Batch[i].Kind))
			f.bytes(fx.Batch[i].Key)
			f.bytes(fx.Batch[i].Value)
		}
	case machine.RunJob:
		f = sumRunJob
		f.bytes(fx.Lease[:])
	case machine.StopJob:
		f = sumStopJob
		f.bytes(fx.Lease[:])
	case machine.Fetch:
		f = sumFetch
		f.bytes(fx.Lease[:])
		f.bytes(fx.Output[:])
	case machine.Prove:
		f = sumProve
		f.word(uint64(fx.Storm))
		f.bytes(fx.Seed[:])
		f.word(uint64(fx.Deadline.UnixNano()))
	case machine.Open:
		f = sumOpen
		f.bytes(fx.Commit[:])
		f.word(uint64(len(fx.Samples)))
	case machine.Check:
		f = sumCheck
		f.bytes(fx.ID[:])
		f.bytes(fx.Seed[:])
	case machine.Verify:
		f = sumVerify
		f.word(fx.ID)
		for i := range fx.Batch {
			s := &fx.Batch[i]
			f.bytes(s.Key[:])
			f.bytes(s.Digest[:])
			f.bytes(s.Sig[:])
		}
	case machine.Note:
		f = sumNote
		f.word(uint64(fx.Fact)<<32 | uint64(fx.Task))
		f.bytes(fx.Peer[:])
		f.bytes(fx.Lease[:])
		f.word(uint64(fx.Amount))
		f.text(fx.Text)
	default:
		panic(fmt.Sprintf("world: unknown effect %T", fx))
	}
	return uint64(f)
}

// describe writes an event or an effect in a few words.
func describe(what any) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", what), "machine.")
	switch v := what.(type) {
	case machine.Gossiped:
		return name + " " + kindOf(v.Data)
	case machine.Received:
		return name + " " + kindOf(v.Data) + " from " + v.From.Short()
	case machine.PeerUp:
		return name + " " + v.Peer.Short()
	case machine.PeerDown:
		return name + " " + v.Peer.Short()
	case machine.JobStarted:
		return name + " " + v.Lease.Short()
	case machine.JobDone:
		return fmt.Sprintf("%s %s output %s %s", name, v.Lease.Short(), v.Output.Short(), v.Text)
	case machine.Fetched:
		return fmt.Sprintf("%s %s %v %s", name, v.Lease.Short(), v.OK, v.Text)
	case machine.Publish:
		return name + " " + kindOf(v.Data)
	case machine.Send:
		return name + " " + kindOf(v.Data) + " to " + v.To.Short()
	case machine.Save:
		return fmt.Sprintf("%s %d", name, len(v.Batch))
	case machine.RunJob:
		return name + " " + v.Lease.Short()
	case machine.StopJob:
		return name + " " + v.Lease.Short()
	case machine.Fetch:
		return name + " " + v.Lease.Short()
	case machine.Verify:
		return fmt.Sprintf("%s %d: %d signatures", name, v.ID, len(v.Batch))
	case machine.Verified:
		return fmt.Sprintf("%s %d", name, v.ID)
	case machine.Note:
		return fmt.Sprintf("%s fact %d peer %s lease %s task %d amount %d %s",
			name, v.Fact, v.Peer.Short(), v.Lease.Short(), v.Task, v.Amount, v.Text)
	default:
		return name
	}
}

func kindOf(data []byte) string {
	kind, _, err := wire.Open(data)
	if err != nil {
		return err.Error()
	}
	return kind.String() + " " + fmt.Sprintf("%04x", content(data, 0)&0xffff)
}
