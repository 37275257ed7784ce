package ledger

import "fmt"

// An Item is an operation that State.Prepare has decoded once, so that it can be
// checked many times.
type Item struct {
	Op   *Op
	ID   OpID
	body any
	by   Contract
}

// Prepare checks what does not depend on other operations and never changes: the
// size, network, epoch, kind, fee, claims' form and body. It does not verify the
// signature. The operation must not change afterwards.
func (s *State) Prepare(op *Op) (*Item, Result) {
	it := &Item{}
	if r := s.PrepareIn(it, op); r != OK {
		return nil, r
	}
	return it, OK
}

// PrepareIn is Prepare that puts the Item where it is told, if the Result is OK.
func (s *State) PrepareIn(it *Item, op *Op) Result {
	if r := s.checkForm(op); r != OK {
		return r
	}
	by := s.handlers[op.Kind]
	if by == nil {
		return UnknownKind
	}
	body, err := by.Decode(op.Kind, op.Body)
	if err != nil {
		return BadBody
	}
	*it = Item{Op: op, ID: op.ID(), body: body, by: by}
	return OK
}

// checkForm checks the envelope by itself.
func (s *State) checkForm(op *Op) Result {
	switch {
	case len(op.Claims) > MaxClaims || op.Size() > MaxOp:
		return TooLarge
	case op.Chain != s.chain:
		return BadChain
	case op.Epoch != s.Epoch():
		return BadEpoch
	case op.Seq == 0:
		return BadSeq
	case (op.Seq == 1) != op.Prev.IsZero():
		return BadPrev
	case len(op.Claims) > 0 && op.Lane != 0:
		return BadLane
	case !claimsAscend(op.Claims):
		return BadClaim
	case op.Fee > MaxSupply:
		return Overflow
	case op.Kind.PaysFee() && op.Fee < s.genesis.MinFee:
		return FeeTooLow
	}
	return OK
}

// Check says whether Apply would apply the operation now. It changes nothing and
// does not verify the signature.
func (s *State) Check(op *Op) Result {
	it, r := s.Prepare(op)
	if r != OK {
		return r
	}
	return s.CheckItem(it)
}

// CheckItem is Check without preparing again.
func (s *State) CheckItem(it *Item) Result {
	op := it.Op
	var own lane
	if at := s.lane(op.Account, op.Lane); at != nil {
		own = *at
	}
	if op.Seq != own.seq+1 {
		return BadSeq
	}
	if op.Prev != own.head {
		return BadPrev
	}
	sum := own.balance
	for i := range op.Claims {
		c := &op.Claims[i]
		from := s.lane(c.From, c.Lane)
		if c.Upto > 0 && (from == nil || from.seq < c.Upto) {
			return BadClaim
		}
		sum += s.claimable(op.Account, from, c.Upto)
	}
	if sum < op.Fee {
		return InsufficientBalance
	}
	return it.by.Check(s, op, it.body)
}

// MayVoteItem is CheckItem and, when that says OK, what the contract asks of a
// witness besides (see Voter).
func (s *State) MayVoteItem(it *Item) Result {
	if r := s.CheckItem(it); r != OK {
		return r
	}
	if v, ok := it.by.(Voter); ok {
		return v.MayVote(s, it.Op, it.body)
	}
	return OK
}

// Apply applies the operation if Check says OK, and returns what Check said. It
// does not verify the signature.
func (s *State) Apply(op *Op) Result {
	it, r := s.Prepare(op)
	if r != OK {
		return r
	}
	return s.ApplyItem(it)
}

// ApplyItem is Apply without preparing again.
func (s *State) ApplyItem(it *Item) Result {
	if r := s.CheckItem(it); r != OK {
		return r
	}
	op := it.Op
	s.tx = Tx{state: s, op: op, id: it.ID}
	own := LaneOf(op.Account, op.Lane)
	for i := range op.Claims {
		s.tx.claim(&op.Claims[i])
	}
	s.tx.Move(own, Burned(), op.Fee)
	it.by.Apply(&s.tx, op, it.body)
	at := s.laneAt(op.Account, op.Lane)
	at.seq, at.head = op.Seq, it.ID
	s.applied++
	s.tx = Tx{}
	if len(s.changed) > maxKeys {
		s.settle()
	}
	return OK
}

// claim moves the credits that c takes into the operation's lane.
func (tx *Tx) claim(c *Claim) {
	a := tx.state.claimable(tx.op.Account, tx.state.lane(c.From, c.Lane), c.Upto)
	if a == 0 {
		return
	}
	tx.transfer(Bucket{kind: inCredit, account: tx.op.Account, lane: c.Lane, op: OpID(c.From), upto: c.Upto},
		LaneOf(tx.op.Account, tx.op.Lane), a)
}

// put adds money to a bucket; op is the operation that does, for credits.
func (s *State) put(b Bucket, op *Op, a Amount) {
	s.sums[b.kind] += a // at most the total supply, as is every sum below
	switch b.kind {
	case inLane:
		s.laneAt(b.account, b.lane).balance += a
	case inCredit:
		to := s.holderAt(b.account)
		to.inbox.add(s.laneAt(op.Account, op.Lane), op.Seq, a)
		s.touchHolder(to)
	case inEscrow:
		s.escrows[b.op] += a
		s.touch(EscrowKey(b.op))
	case inPot:
		s.pots[b.class] += a
		s.touch(PotKey(b.class))
	case inBond:
		s.bonds[b.account] += a
		s.touch(BondKey(b.account))
	case inProviderBond:
		s.pledge(b.account, b.class, a)
	case inBurned: // its sum is all there is
	default:
		panic(fmt.Sprintf("ledger: put %s into %v", a, b))
	}
}

// take removes money from a bucket, and reports false when it holds less.
func (s *State) take(b Bucket, a Amount) bool {
	ok := false
	switch b.kind {
	case inLane:
		at := s.laneAt(b.account, b.lane)
		at.balance, ok = less(at.balance, a)
	case inCredit:
		ok = s.takeCredits(b, a)
	case inEscrow:
		ok = takeFrom(s.escrows, b.op, a)
		s.touch(EscrowKey(b.op))
	case inPot:
		ok = takeFrom(s.pots, b.class, a)
		s.touch(PotKey(b.class))
	case inBond:
		ok = takeFrom(s.bonds, b.account, a)
		s.touch(BondKey(b.account))
	case inProviderBond:
		ok = takeFrom(s.pledges[b.account], b.class, a)
		s.touch(ProviderBondKey(b.account, b.class))
	case inBurned: // nothing comes back
	}
	if ok {
		s.sums[b.kind] -= a
	}
	return ok
}

// takeCredits removes the credits that a claim names, which must add up to a.
func (s *State) takeCredits(b Bucket, a Amount) bool {
	box := &s.holderAt(b.account).inbox
	i, ok := box.find(s.lane(Account(b.op), b.lane))
	if !ok {
		return false
	}
	gifts := box.sources[i].gifts
	n, sum := upto(gifts, b.upto)
	if sum != a {
		return false
	}
	for _, g := range gifts[:n] {
		if g.leaf != 0 {
			s.tree.remove(g.leaf)
		}
	}
	box.drop(i, n, sum)
	return true
}

// takeFrom removes money from an entry of a map, and the entry when it is empty.
func takeFrom[K comparable](m map[K]Amount, k K, a Amount) bool {
	rest, ok := less(m[k], a)
	if !ok {
		return false
	}
	if rest == 0 {
		delete(m, k)
		return true
	}
	m[k] = rest
	return true
}

// less returns have - a, and have and false when a is the larger.
func less(have, a Amount) (Amount, bool) {
	if a > have {
		return have, false
	}
	return have - a, true
}
