package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// MaxPayments is the largest number of payments in one order, so that it fits into
// one record.
const MaxPayments = 16384

// payWindow is how many payments of the node wait in its outbox at once. More would
// only make each search of it longer.
const payWindow = 256

// Pay is the local user's order to pay. The ID is the idempotency key: the second
// Pay of an ID does nothing. It is saved before anything else happens, and each of
// its payments is made once, in their order.
type Pay struct {
	ID       p2p.Digest // picked by the user's side
	Payments []Payment  // 1 to MaxPayments
}

func (Pay) event() {}

// A Payment is money for an account.
type Payment struct {
	To     ledger.Account
	Amount ledger.Amount // at least 1
}

// A PaymentState says where a payment stands.
type PaymentState uint8

// The states of a payment.
const (
	PaymentWaiting   PaymentState = iota + 1 // for its turn
	PaymentSigned                            // and saved: it will be made
	PaymentCertified                         // it is made
	PaymentRefused                           // by the ledger, before it was signed; nothing was paid
	PaymentFinal                             // it is made, and in every checkpoint that can be agreed on
)

// paymentStates are the names of the states, by number.
var paymentStates = [...]string{
	PaymentWaiting: "waiting", PaymentSigned: "signed", PaymentCertified: "certified", PaymentRefused: "refused",
	PaymentFinal: "final",
}

// String returns the state's name.
func (s PaymentState) String() string {
	if s == 0 || int(s) >= len(paymentStates) {
		return fmt.Sprintf("payment state(%d)", uint8(s))
	}
	return paymentStates[s]
}

// A PaymentView tells how a payment stands.
type PaymentView struct {
	Payment
	State  PaymentState
	Op     ledger.OpID   // zero until it is signed
	Result ledger.Result // why it was refused
}

// A payorder is an order to pay and how far it has got.
type payorder struct {
	id       p2p.Digest
	payments []Payment
	number   uint64   // in which the orders of this node came
	ends     []payend // of each payment
	done     bool     // every payment is made or refused
	next     int      // the first payment that has not been put into the outbox in this life
}

// A payend is what became of a payment: an operation or a refusal, or neither yet.
type payend struct {
	op      ledger.OpID
	refused ledger.Result
	queued  bool // in the outbox
}

func (e *payend) open() bool { return e.op.IsZero() && e.refused == 0 }

// A wallet holds what the user has ordered to be paid.
type wallet struct {
	orders  []*payorder // as they came
	byID    map[p2p.Digest]*payorder
	todo    []*payorder          // those of them that may have payments to put into the outbox
	byOp    map[ledger.OpID]paid // signed payments that are not applied yet
	waiting int                  // payments in the outbox
}

func newWallet() wallet {
	return wallet{byID: make(map[p2p.Digest]*payorder), byOp: make(map[ledger.OpID]paid)}
}

// add adds an order that came after all others.
func (w *wallet) add(o *payorder) {
	w.orders, w.todo = append(w.orders, o), append(w.todo, o)
	w.byID[o.id] = o
}

// A paid payment is one of an order.
type paid struct {
	order *payorder
	index int
}

// CheckPay reports what is wrong with an order to pay, and what would be right. All
// that was ordered before and is not paid yet counts as spent.
func (m *Machine) CheckPay(p Pay) error {
	switch n := len(p.Payments); {
	case p.ID.IsZero():
		return errors.New("pay: no id")
	case n < 1 || n > MaxPayments:
		return fmt.Errorf("pay: %d payments, want 1 to %d", n, MaxPayments)
	case m.wallet.byID[p.ID] == nil && !m.wallet.room(n, m):
		return fmt.Errorf("pay: %d payments, and too many of other orders are not made yet: wait for them", n)
	}
	fee := m.cfg.Genesis.Ledger.MinFee
	need := m.promised()
	for i, pay := range p.Payments {
		if pay.To.IsZero() || pay.Amount == 0 {
			return fmt.Errorf("pay: payment %d: want an account, and an amount of at least 1 atom", i+1)
		}
		ok := false
		if need, ok = need.Add(pay.Amount); ok {
			need, ok = need.Add(fee)
		}
		if !ok {
			return fmt.Errorf("pay: payment %d: the sum exceeds all the money there is", i+1)
		}
	}
	if has := m.purse(); m.wallet.byID[p.ID] == nil && need > has {
		return fmt.Errorf("pay: %v atoms are wanted, fees and payments under way included; the account can spend %v",
			need, has)
	}
	return nil
}

// purse returns what payments can be made of: the money of lane 0 and unclaimed
// credits.
func (m *Machine) purse() ledger.Amount {
	st := m.replica.State()
	sum := st.Spendable(m.cfg.Self, 0)
	for _, c := range st.Unclaimed(m.cfg.Self) {
		sum += c.Amount // all money there is fits
	}
	return sum
}

// promised returns what payments take that are ordered and not made.
func (m *Machine) promised() (sum ledger.Amount) {
	for _, o := range m.wallet.orders {
		if m.finished(o) {
			continue
		}
		for i, e := range o.ends {
			if e.open() || !e.op.IsZero() && !m.replica.IsApplied(e.op) {
				sum += o.payments[i].Amount + m.cfg.Genesis.Ledger.MinFee // checked when it was ordered
			}
		}
	}
	return sum
}

// ordersMax is how many payments a machine holds, made ones included.
const ordersMax = 8 * MaxPayments

// room reports whether n more payments can be held, if need be without the oldest
// orders that are made.
func (w *wallet) room(n int, m *Machine) bool {
	for _, o := range w.orders {
		if !m.finished(o) {
			n += len(o.payments)
		}
	}
	return n <= ordersMax
}

// finished reports whether every payment of an order is made or refused.
func (m *Machine) finished(o *payorder) bool {
	o.done = o.done || !slices.ContainsFunc(o.ends, func(e payend) bool {
		return e.open() || e.refused == 0 && !m.replica.IsApplied(e.op)
	})
	return o.done
}

// takePay takes an order.
func (m *Machine) takePay(p Pay) {
	if m.wallet.byID[p.ID] != nil {
		return
	}
	if err := m.CheckPay(p); err != nil {
		m.note(Note{Fact: FactDropped, Text: err.Error()})
		return
	}
	m.makeRoom(len(p.Payments))
	o := &payorder{id: p.ID, payments: slices.Clone(p.Payments), ends: make([]payend, len(p.Payments))}
	if n := len(m.wallet.orders); n > 0 {
		o.number = m.wallet.orders[n-1].number + 1
	}
	m.wallet.add(o)
	m.save(o.record())
	m.feedWallet()
}

// makeRoom forgets the oldest orders that are made until n more payments fit.
func (m *Machine) makeRoom(n int) {
	for _, o := range m.wallet.orders {
		n += len(o.payments)
	}
	m.wallet.orders = slices.DeleteFunc(m.wallet.orders, func(o *payorder) bool {
		if n <= ordersMax || !m.finished(o) {
			return false
		}
		n -= len(o.payments)
		delete(m.wallet.byID, o.id)
		m.save(Record{Kind: RecordPay, Key: o.id[:]})
		for i := range o.ends {
			m.save(Record{Kind: RecordPaid, Key: o.key(i)})
		}
		return true
	})
}

// feedWallet puts the next payments into the outbox while there is room.
func (m *Machine) feedWallet() {
	for w := &m.wallet; len(w.todo) > 0; w.todo = w.todo[1:] {
		o := w.todo[0]
		for ; o.next < len(o.payments); o.next++ {
			if w.waiting >= payWindow {
				return
			}
			if e := &o.ends[o.next]; e.open() && !e.queued {
				m.wantPayment(paid{o, o.next})
			}
		}
	}
}

// wantPayment puts a payment into the outbox.
func (m *Machine) wantPayment(p paid) {
	o, i := p.order, p.index
	m.wallet.waiting++
	o.ends[i].queued = true
	m.want(0, intent{
		kind: ledger.KindTransfer,
		key:  p2p.Sum("pay", o.key(i)),
		body: func() ([]byte, bool) { return ledger.Transfer(o.payments[i]).Encode(), true },
		made: func(id ledger.OpID) []Record {
			m.wallet.waiting--
			m.wallet.byOp[id] = p
			o.ends[i] = payend{op: id}
			return []Record{o.paidRecord(i)}
		},
		void: func(r ledger.Result) {
			m.wallet.waiting--
			o.ends[i] = payend{refused: r}
			m.save(o.paidRecord(i))
		},
		follows: true,
	})
}

// paymentLost makes a payment again whose operation can never apply, because a life
// that was forgotten has taken its place.
func (m *Machine) paymentLost(id ledger.OpID) {
	p, ok := m.wallet.byOp[id]
	if !ok {
		return
	}
	delete(m.wallet.byOp, id)
	p.order.ends[p.index] = payend{}
	p.order.next = min(p.order.next, p.index)
	m.wallet.todo = append(m.wallet.todo, p.order)
	m.save(Record{Kind: RecordPaid, Key: p.order.key(p.index)})
}

// Payments returns how the payments of an order stand, and false when there is no
// order of the id. It is on disk when this shows it.
func (m *Machine) Payments(id p2p.Digest) ([]PaymentView, bool) {
	o := m.wallet.byID[id]
	if o == nil {
		return nil, false
	}
	out := make([]PaymentView, len(o.payments))
	for i, e := range o.ends {
		v := PaymentView{Payment: o.payments[i], State: PaymentWaiting, Op: e.op, Result: e.refused}
		switch {
		case e.refused != 0:
			v.State = PaymentRefused
		case !e.op.IsZero() && m.replica.IsApplied(e.op) && m.replica.Final(e.op):
			v.State = PaymentFinal
		case !e.op.IsZero() && m.replica.IsApplied(e.op):
			v.State = PaymentCertified
		case !e.op.IsZero():
			v.State = PaymentSigned
		}
		out[i] = v
	}
	return out, true
}

func (o *payorder) record() Record {
	w := wire.NewWriter(12 + 40*len(o.payments))
	w.U64(o.number)
	w.U32(uint32(len(o.payments)))
	for _, p := range o.payments {
		w.Fixed(p.To[:])
		w.U64(uint64(p.Amount))
	}
	return Record{Kind: RecordPay, Key: o.id[:], Value: w.Bytes()}
}

// key returns the key of the record of a payment: order and index.
func (o *payorder) key(i int) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(o.id[:]), uint32(i))
}

// paidRecord returns the record of what became of a payment.
func (o *payorder) paidRecord(i int) Record {
	w := wire.NewWriter(33)
	w.Fixed(o.ends[i].op[:])
	w.U8(uint8(o.ends[i].refused))
	return Record{Kind: RecordPaid, Key: o.key(i), Value: w.Bytes()}
}

// rememberPay takes the record of an order.
func (m *Machine) rememberPay(key []byte, r *wire.Reader) error {
	o := &payorder{number: r.U64()}
	n := int(r.U32())
	refuse(r, len(key) != len(o.id), "order to pay under a key of %d bytes", len(key))
	refuse(r, n < 1 || n > MaxPayments || r.Rest() != 40*n, "order of %d payments in %d bytes", n, r.Rest())
	if r.Err() != nil {
		return r.Err()
	}
	copy(o.id[:], key)
	o.payments, o.ends = make([]Payment, n), make([]payend, n)
	for i := range o.payments {
		p := &o.payments[i]
		r.Into(p.To[:])
		p.Amount = ledger.Amount(r.U64())
		refuse(r, p.To.IsZero() || p.Amount == 0 || p.Amount > ledger.MaxSupply, "payment of %v atoms", p.Amount)
	}
	m.wallet.add(o)
	return r.Close()
}

// rememberPaid takes the record of a payment. It needs the order to be there.
func (m *Machine) rememberPaid(key []byte, r *wire.Reader) error {
	var id p2p.Digest
	if len(key) != len(id)+4 {
		return fmt.Errorf("%w: payment under a key of %d bytes", wire.ErrValue, len(key))
	}
	copy(id[:], key)
	o, i := m.wallet.byID[id], int(binary.BigEndian.Uint32(key[len(id):]))
	if o == nil || i >= len(o.ends) {
		return fmt.Errorf("order %v has no payment %d", id, i)
	}
	e := &o.ends[i]
	r.Into(e.op[:])
	e.refused = ledger.Result(r.U8())
	refuse(r, e.op.IsZero() == (e.refused == 0), "payment %v refused for %v", e.op, e.refused)
	return r.Close()
}

// restoreWallet puts the orders into their order and finds what is under way.
func (m *Machine) restoreWallet() {
	slices.SortFunc(m.wallet.orders, func(a, b *payorder) int { return cmp.Compare(a.number, b.number) })
	m.wallet.todo = slices.Clone(m.wallet.orders)
	for _, o := range m.wallet.orders {
		for i, e := range o.ends {
			if !e.op.IsZero() && !m.replica.IsApplied(e.op) {
				m.wallet.byOp[e.op] = paid{o, i}
			}
		}
	}
}
