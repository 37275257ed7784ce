package api

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// payMax is how many bytes an order to pay may have: machine.MaxPayments of them fit.
const payMax = 4 << 20

// A PayOrder says what is to be paid.
type PayOrder struct {
	ID       p2p.Digest `json:"id,omitzero" pattern:"^[0-9a-f]{64}$" doc:"idempotency key; default: a random one"`
	Payments []Payment  `json:"payments" minItems:"1" maxItems:"16384"`
}

// A Payment is money for an account.
type Payment struct {
	To     p2p.PeerID    `json:"to" pattern:"^[0-9a-f]{64}$"`
	Amount ledger.Amount `json:"amount" pattern:"^[1-9][0-9]{0,19}$"`
}

// Payments tell how an order to pay stands.
type Payments struct {
	ID        p2p.Digest    `json:"id"`
	Waiting   int           `json:"waiting" doc:"for their turn"`
	Signed    int           `json:"signed" doc:"and saved: they will be made"`
	Certified int           `json:"certified" doc:"made"`
	Final     int           `json:"final" doc:"of those, in every checkpoint that can be agreed on"`
	Refused   int           `json:"refused" doc:"by the ledger; nothing was paid"`
	Paid      ledger.Amount `json:"paid" doc:"by those that are certified"`
	Fees      ledger.Amount `json:"fees" doc:"of those that are certified"`
	Payments  []PaymentView `json:"payments" nullable:"false" doc:"each of them, unless brief was asked for"`
}

// A PaymentView tells how a payment stands.
type PaymentView struct {
	Payment
	State  string      `json:"state" enum:"waiting,signed,certified,refused,final"`
	Op     ledger.OpID `json:"op,omitzero" doc:"once it is signed"`
	Result string      `json:"result,omitempty" doc:"why it was refused"`
}

// Open returns how many payments are not at their end.
func (p *Payments) Open() int { return p.Waiting + p.Signed }

// A payForm is the body of POST /v1/payments.
type payForm struct{ Body PayOrder }

// pay hands the machine an order to pay, and answers once it is on disk.
func (s *Server) pay(ctx context.Context, in *payForm) (*reply[Ticket], error) {
	p := machine.Pay{ID: in.Body.ID}
	if p.ID.IsZero() {
		_, _ = rand.Read(p.ID[:]) // it never fails
	}
	for _, one := range in.Body.Payments {
		p.Payments = append(p.Payments, machine.Payment(one))
	}
	known, err := s.ordered(ctx, p)
	if err != nil || known {
		return &reply[Ticket]{Ticket{ID: p.ID, Known: known}}, err
	}
	if err := s.cfg.Node.Pay(ctx, p); err != nil {
		return nil, problem(http.StatusServiceUnavailable, CodeUnavailable, "the node does not answer: %v", err)
	}
	if known, err := s.ordered(ctx, p); err != nil || known {
		return &reply[Ticket]{Ticket{ID: p.ID}}, err
	}
	return nil, problem(http.StatusServiceUnavailable, CodeNotTaken,
		"the node did not take the order %v: the money it needs has just been spent; try again", p.ID)
}

// ordered reports whether the machine has the order. One that it cannot meet, and
// another one of the same id, is an error.
func (s *Server) ordered(ctx context.Context, p machine.Pay) (known bool, err error) {
	var bad error
	same := true
	err = s.ask(ctx, func(m *machine.Machine) {
		var all []machine.PaymentView
		if all, known = m.Payments(p.ID); !known {
			bad = m.CheckPay(p)
			return
		}
		same = len(all) == len(p.Payments)
		for i := 0; same && i < len(all); i++ {
			same = all[i].Payment == p.Payments[i]
		}
	})
	switch {
	case err != nil:
		return false, err
	case bad != nil:
		return false, problem(http.StatusUnprocessableEntity, CodeBadPayment, "%v", bad)
	case !same:
		return false, problem(http.StatusConflict, CodeIDTaken,
			"order %v is for other payments than these; repeat an order without changes, or give this one another id", p.ID)
	}
	return known, nil
}

// A paymentsQuery names an order to pay.
type paymentsQuery struct {
	ID    p2p.Digest `path:"id" pattern:"^[0-9a-f]{64}$"`
	Brief bool       `query:"brief" doc:"counts only"`
}

func (s *Server) payments(ctx context.Context, in *paymentsQuery) (*reply[Payments], error) {
	var all []machine.PaymentView
	var known bool
	if err := s.ask(ctx, func(m *machine.Machine) { all, known = m.Payments(in.ID) }); err != nil {
		return nil, err
	}
	if !known {
		return nil, problem(http.StatusNotFound, CodeUnknownPay, "order %v: this node has none of the id", in.ID)
	}
	out := Payments{ID: in.ID, Payments: []PaymentView{}}
	for _, v := range all {
		view := PaymentView{Payment: Payment(v.Payment), State: v.State.String(), Op: v.Op}
		switch v.State {
		case machine.PaymentWaiting:
			out.Waiting++
		case machine.PaymentSigned:
			out.Signed++
		case machine.PaymentCertified, machine.PaymentFinal:
			if out.Certified++; v.State == machine.PaymentFinal {
				out.Final++
			}
			out.Paid += v.Amount // no sum of what was paid overflows: see ledger.MaxSupply
			out.Fees += s.cfg.Node.Genesis().Ledger.MinFee
		case machine.PaymentRefused:
			out.Refused++
			view.Result = v.Result.String()
		}
		if !in.Brief {
			out.Payments = append(out.Payments, view)
		}
	}
	return &reply[Payments]{out}, nil
}
