package wire

import "fmt"

// Version is the first byte of every message.
const Version = 1

// A Kind says what a network message holds. Kinds are append-only: a number is
// never reused. The zero Kind is no message.
type Kind uint8

// The kinds of message, those that are gossiped first.
const (
	KindOp         Kind = 1  // ledger operation
	KindFrame      Kind = 2  // witness votes
	KindBeat       Kind = 3  // verifiable random output of a slot
	KindOffer      Kind = 4  // provider's capacity for sale
	KindBid        Kind = 5  // client's need
	KindBundle     Kind = 6  // ledger operations
	KindAccusation Kind = 7  // proof of an offence
	KindAsk        Kind = 16 // client asks one provider for a quote
	KindQuoted     Kind = 17 // provider's signed answer
	KindStart      Kind = 18 // client hands over the terms of a job
	KindReport     Kind = 19 // provider tells how a job stands
	KindPay        Kind = 20 // client sends a voucher
	KindReveal     Kind = 21 // prover opens sampled tiles
	KindHeads      Kind = 22 // what a replica holds
	KindItems      Kind = 23 // what another replica lacks
	KindWant       Kind = 24 // operations a replica has seen votes for and lacks
)

// headerSize is the version and the kind.
const headerSize = 2

// Limit returns the size in bytes of the largest message of the kind, header
// included, and 0 for a kind that does not exist. It is the one table of message
// limits; docs/spec/wire.md repeats it.
func (k Kind) Limit() int {
	switch k {
	case KindOp, KindBeat, KindOffer, KindBid, KindAsk, KindQuoted, KindStart, KindReport, KindPay:
		return 1 << 11
	case KindFrame, KindHeads, KindWant:
		return 1 << 15
	case KindBundle, KindAccusation:
		return 1<<17 + headerSize
	case KindReveal, KindItems:
		return 1 << 18
	default:
		return 0
	}
}

// MaxMessage is the largest Limit of any kind.
const MaxMessage = 1 << 18

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindOp:
		return "op"
	case KindFrame:
		return "frame"
	case KindBeat:
		return "beat"
	case KindOffer:
		return "offer"
	case KindBid:
		return "bid"
	case KindBundle:
		return "bundle"
	case KindAccusation:
		return "accusation"
	case KindAsk:
		return "ask"
	case KindQuoted:
		return "quoted"
	case KindStart:
		return "start"
	case KindReport:
		return "report"
	case KindPay:
		return "pay"
	case KindReveal:
		return "reveal"
	case KindHeads:
		return "heads"
	case KindItems:
		return "items"
	case KindWant:
		return "want"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// Seal returns the message of the kind with the body that put writes.
func Seal(k Kind, put func(*Writer)) []byte {
	w := NewWriter(256)
	w.U8(Version)
	w.U8(uint8(k))
	put(w)
	if limit := k.Limit(); len(w.b) > limit {
		panic(fmt.Sprintf("wire: %v message of %d bytes, limit %d", k, len(w.b), limit))
	}
	return w.b
}

// Open splits a message into its kind and a Reader of its body. It refuses a
// message of another version, of an unknown kind, or over its kind's limit.
func Open(b []byte) (Kind, *Reader, error) {
	if len(b) < headerSize {
		return 0, nil, fmt.Errorf("message of %d bytes: %w", len(b), ErrShort)
	}
	if b[0] != Version {
		return 0, nil, fmt.Errorf("message version %d: %w: want %d", b[0], ErrValue, Version)
	}
	k := Kind(b[1])
	limit := k.Limit()
	if limit == 0 {
		return 0, nil, fmt.Errorf("message kind %d: %w", b[1], ErrValue)
	}
	if len(b) > limit {
		return 0, nil, fmt.Errorf("%v message of %d bytes: %w of %d", k, len(b), ErrLimit, limit)
	}
	return k, &Reader{b: b, off: headerSize}, nil
}
