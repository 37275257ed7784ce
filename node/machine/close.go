package machine

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
)

// paid takes a voucher: the client's promise for all seconds so far.
func (m *Machine) paid(from p2p.PeerID, v market.Voucher) {
	s := m.sales[v.Lease]
	if s == nil && v.Final {
		m.cancelled(from, v)
		return
	}
	if s == nil || s.client != from || s.phase == saleClosing {
		return
	}
	if v.Used < s.voucher.Used || v.Used == s.voucher.Used && (!v.Final || s.voucher.Final) {
		return // says nothing new
	}
	if !m.cfg.Crypto.Verify(from, v.SigningDigest(m.network), v.Sig) {
		m.note(Note{Fact: FactRefused, Peer: from, Lease: v.Lease, Text: "voucher: its signature does not verify"})
		return
	}
	s.voucher, s.paidAt = v, m.now
	m.saveSale(s)
	if v.Final && s.phase == saleRunning {
		m.do(StopJob{Lease: s.lease})
		m.endSale(s, market.EndClientStop, "the client has ended the lease")
		return
	}
	if s.phase == saleDone && !v.Final {
		m.sendReport(s)
	}
	m.tryClose(s)
}

// cancelled closes a lease whose client ended it before its terms came.
func (m *Machine) cancelled(from p2p.PeerID, v market.Voucher) {
	l, ok := m.leases.Lease(v.Lease)
	if !ok || l.Provider != m.cfg.Self || l.Client != from || l.State == market.StateClosed {
		return
	}
	s := &sale{lease: v.Lease, client: from}
	m.sales[v.Lease] = s
	m.endSale(s, market.EndClientStop, "the client has ended the lease")
}

// tryClose closes a lease whose job has ended once the client has sent its final
// voucher, which says that the output is there, or has been silent for too long.
func (m *Machine) tryClose(s *sale) {
	if s.phase != saleDone {
		return
	}
	if !s.voucher.Final && m.now.Before(s.paidAt.Add(m.cfg.Timing.Grace)) {
		return // the output may still be on its way
	}
	s.phase = saleClosing
	m.saveSale(s)
	m.closeLease(s)
}

func (m *Machine) closeLease(s *sale) {
	lane, ok := m.leaseLane(s.lease)
	if !ok {
		return // resumeSale comes when the ledger knows the lease
	}
	m.want(lane, intent{
		kind: ledger.KindLeaseClose,
		key:  p2p.Sum("close", s.lease[:]),
		body: func() ([]byte, bool) {
			l, ok := m.leases.Lease(s.lease)
			c := market.LeaseClose{Lease: s.lease, Reason: s.reason}
			if l.State == market.StateAccepted && s.voucher.Used > 0 {
				c.Used, c.VoucherSig = s.voucher.Used, s.voucher.Sig
			}
			return c.Encode(), ok && l.State != market.StateClosed
		},
	})
}

// leaseClosed forgets a sale, and settles a purchase, whose lease is closed.
func (m *Machine) leaseClosed(op *ledger.Op) {
	c, err := market.DecodeLeaseClose(op.Body)
	if err != nil {
		panic("machine: the ledger applied a LeaseClose that does not decode: " + err.Error())
	}
	if s := m.sales[c.Lease]; s != nil {
		delete(m.sales, c.Lease)
		m.save(Record{Kind: RecordSale, Key: opKey(c.Lease)})
		m.tell(s)
		soonest(&m.due.offer, m.now)
	}
	m.purchaseClosed(c.Lease)
}
