package machine

import (
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-9] The first answer of a provider to a question counts: one that answers
// often and falsely cannot end the wait for the others.
func TestFirstQuoteCounts(t *testing.T) {
	s := newMarket(t, never, 2)
	liar, c := s.player("provider1"), s.player("client")
	s.twists = append(s.twists, func(from, to *player, kind wire.Kind, data []byte) []byte {
		if from != liar || kind != wire.KindQuoted {
			return data
		}
		_, r, _ := wire.Open(data)
		q := market.TakeQuote(r)
		for i := range 5 { // five false ones before anybody else can answer
			q.Charge = ledger.Amount(i + 1)
			q.Sig = liar.cfg.Crypto.Sign(q.SigningDigest(s.g.Network()))
			false1 := wire.Seal(wire.KindQuoted, q.Put)
			s.post(&arrival{at: s.now, to: to, life: -1, make: func() Event {
				return Received{From: liar.key.id, Data: false1}
			}})
		}
		return nil
	})
	refused := 0
	s.watch = append(s.watch, func(p *player, _ Event, fx []Effect) {
		for _, f := range fx {
			if n, ok := f.(Note); ok && p == c && n.Fact == FactRefused {
				refused++
			}
		}
	})
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	j := testJob("a", 1, 0)
	s.order(c, j)
	s.wantSettled(c, j, 3*time.Second)
	if refused != 1 {
		t.Errorf("%d quotes of the liar were looked at, want 1", refused)
	}
}

// A task that is over the budget waits for one whose lease is not signed yet.
func TestBudgetWaits(t *testing.T) {
	s := newMarket(t, never, 4)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, first, second := s.player("client"), testJob("first", 2, 0), testJob("second", 2, 0)
	second.Max = 19_000_000 // one task and a half
	s.order(c, first)       // keeps the lane busy
	s.order(c, second)
	s.wantSettled(c, second, 30*time.Second)
}

// A task of a job that ends while its lease waits to be signed leaves its provider
// to other jobs.
func TestEndedJobFreesProvider(t *testing.T) {
	s := newMarket(t, never, 2)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, ended, next := s.player("client"), testJob("ended", 2, 0), testJob("next", 2, 0)
	s.order(c, ended)
	s.run(time.Second, func() bool {
		for _, task := range c.m.jobs[ended.ID].tasks {
			if task.phase == taskOpening {
				return true
			}
		}
		return false
	})
	c.m.endJob(c.m.jobs[ended.ID], CauseMismatch, "for the test")
	s.order(c, next)
	v := s.wantSettled(c, next, 3*time.Second)
	if v.Tasks[0].Provider == v.Tasks[1].Provider {
		t.Error("one of the two providers was never free")
	}
}

// A question that no provider answers is asked again.
func TestAskAgain(t *testing.T) {
	s := newMarket(t, never, 1)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	s.rules = []*rule{{kind: wire.KindQuoted, count: 2}}
	c, j := s.player("client"), testJob("a", 1, 0)
	s.order(c, j)
	s.wantSettled(c, j, 5*time.Second)
}
