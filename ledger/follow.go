package ledger

// CheckAfter says whether the operation could be applied after others of its lane
// that are not applied yet: before, which follow the lane's head one by one. With
// none it is CheckItem. OK holds whatever operations of other lanes do meanwhile,
// and takes that
//
//   - each names the one before it;
//   - the first of before could be applied now, with its claims;
//   - those after the first, the operation too, are alone (see Spender) and claim
//     nothing;
//   - the lane's money and the claims of the first cover all fees and spendings.
//
// BadSeq says that the operation has to wait until those before it are applied;
// InsufficientBalance, that money is missing which they may bring yet; any other
// result, what is wrong with the operation. CheckAfter changes nothing.
func (s *State) CheckAfter(it *Item, before []*Item) Result {
	if len(before) == 0 {
		return s.CheckItem(it)
	}
	last := before[0]
	left, ok := s.Left(last)
	if !ok {
		return BadSeq
	}
	for _, next := range before[1:] {
		rest, r := s.Follow(last, next, left)
		if r != OK {
			return BadSeq
		}
		last, left = next, rest
	}
	_, r := s.Follow(last, it, left)
	return r
}

// Left returns what an operation that could be applied now would leave in its lane at
// least, and false when it could not, or nobody knows. It stays true whatever operations
// of other lanes do.
func (s *State) Left(first *Item) (Amount, bool) {
	most, _, known := first.spends()
	left, enough := s.Funds(first.Op).Sub(most)
	return left, known && enough && s.CheckItem(first) == OK
}

// Follow is CheckAfter step by step: it says whether an operation may come after another
// one that leaves so much money in their lane, as Left or Follow said of that, and
// returns what it leaves itself.
func (s *State) Follow(last, next *Item, left Amount) (Amount, Result) {
	op := next.Op
	most, alone, _ := next.spends()
	switch {
	case op.Account != last.Op.Account || op.Lane != last.Op.Lane || op.Seq != last.Op.Seq+1:
		return 0, BadSeq
	case op.Prev != last.ID:
		return 0, BadPrev
	case !alone || len(op.Claims) > 0:
		return 0, BadSeq
	}
	left, ok := left.Sub(op.Fee)
	if !ok {
		return 0, InsufficientBalance
	}
	// Check knows the money of now: it may say yes too early, or no too early.
	if r := next.by.Check(s, op, next.body); r != OK && r != InsufficientBalance {
		return 0, r
	}
	if left, ok = left.Sub(most); !ok {
		return 0, InsufficientBalance
	}
	return left, OK
}

// spends asks the contract what the operation spends, and reports whether it knows.
func (it *Item) spends() (most Amount, alone, known bool) {
	by, known := it.by.(Spender)
	if !known {
		return 0, false, false
	}
	most, alone = by.Spends(it.Op, it.body)
	return most, alone, true
}
