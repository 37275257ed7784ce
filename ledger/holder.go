package ledger

// A holder is what the state knows of an account's lanes and credits.
type holder struct {
	id      Account
	zero    lane // lane 0, which every account has
	more    []*lane
	inbox   inbox
	touched bool // a lane or the inbox has changed since the tree was brought up to it
}

// A lane is a sequence of operations and its money.
type lane struct {
	balance Amount
	seq     uint64
	head    OpID
	owner   *holder
	leaf    uint32 // in the tree, 0 for none
	number  Lane
	touched bool // changed since the tree was brought up to it
}

// lane returns a lane, nil if nothing has ever been in it.
func (h *holder) lane(l Lane) *lane {
	if l == 0 {
		return &h.zero
	}
	for _, at := range h.more {
		if at.number == l {
			return at
		}
	}
	return nil
}

// holder returns what the state knows of an account, nil for nothing. One operation
// asks for the same few accounts again and again: recent answers them.
func (s *State) holder(account Account) *holder {
	slot := &s.recent[account[0]%uint8(len(s.recent))]
	if h := *slot; h != nil && h.id == account {
		return h
	}
	h := s.holders[account]
	if h != nil {
		*slot = h
	}
	return h
}

// holderAt returns the holder of an account, made if need be.
func (s *State) holderAt(account Account) *holder {
	h := s.holder(account)
	if h == nil {
		h = &holder{id: account}
		h.zero.owner = h
		s.holders[account] = h
	}
	return h
}

// lane returns a lane, nil if nothing has ever been in it.
func (s *State) lane(account Account, l Lane) *lane {
	if h := s.holder(account); h != nil {
		return h.lane(l)
	}
	return nil
}

// laneAt returns a lane, made if need be, that is about to change.
func (s *State) laneAt(account Account, l Lane) *lane {
	h := s.holderAt(account)
	at := h.lane(l)
	if at == nil {
		at = &lane{owner: h, number: l}
		h.more = append(h.more, at)
	}
	at.touched = true
	s.touchHolder(h)
	return at
}

// touchHolder notes that leaves of an account may have changed.
func (s *State) touchHolder(h *holder) {
	if !h.touched {
		h.touched = true
		s.touched = append(s.touched, h)
	}
}

// An inbox holds the credits that an account has not claimed, by source, in no
// order. One lookup of few sources is a walk; of many it goes by index.
type inbox struct {
	total   Amount
	sources []giver
	index   map[*lane]int // nil as long as sources were always few
}

// A giver is a lane that made money over, and its credits in ascending order of
// sequence numbers; there is at least one.
type giver struct {
	from  *lane
	gifts []gift
	fresh int // at the end of gifts, that have changed since the tree was brought up to them
}

// A gift is a credit as its source's list holds it.
type gift struct {
	seq    uint64
	amount Amount
	leaf   uint32 // in the tree, 0 for none
}

// fewSources is the most sources that an inbox walks.
const fewSources = 8

// find returns the place of a source, and false if there is nothing of it.
func (b *inbox) find(from *lane) (int, bool) {
	if b.index != nil {
		i, ok := b.index[from]
		return i, ok
	}
	for i := range b.sources {
		if b.sources[i].from == from {
			return i, true
		}
	}
	return 0, false
}

// of returns the credits of a source.
func (b *inbox) of(from *lane) []gift {
	if i, ok := b.find(from); ok {
		return b.sources[i].gifts
	}
	return nil
}

// upto returns how many of the credits a claim takes, and what they add up to.
func upto(gifts []gift, seq uint64) (n int, sum Amount) {
	for n < len(gifts) && gifts[n].seq <= seq {
		sum += gifts[n].amount
		n++
	}
	return n, sum
}

// add adds a credit, or adds to the one that the same operation made.
func (b *inbox) add(from *lane, seq uint64, a Amount) {
	b.total += a
	i, ok := b.find(from)
	if !ok {
		i = len(b.sources)
		b.sources = append(b.sources, giver{from: from})
		if b.index == nil && i == fewSources {
			b.index = make(map[*lane]int, 2*fewSources)
			for j := range b.sources {
				b.index[b.sources[j].from] = j
			}
		}
		if b.index != nil {
			b.index[from] = i
		}
	}
	at := &b.sources[i]
	if n := len(at.gifts); n > 0 && at.gifts[n-1].seq == seq {
		at.gifts[n-1].amount += a
		at.fresh = max(at.fresh, 1)
		return
	}
	at.gifts = append(at.gifts, gift{seq: seq, amount: a})
	at.fresh++
}

// drop removes the first n credits of a source, which add up to sum.
func (b *inbox) drop(i, n int, sum Amount) {
	b.total -= sum
	at := &b.sources[i]
	if n < len(at.gifts) {
		at.gifts = at.gifts[:copy(at.gifts, at.gifts[n:])]
		at.fresh = min(at.fresh, len(at.gifts))
		return
	}
	last := len(b.sources) - 1
	if b.index != nil {
		delete(b.index, at.from)
		if i < last {
			b.index[b.sources[last].from] = i
		}
	}
	*at = b.sources[last]
	b.sources[last] = giver{}
	b.sources = b.sources[:last]
}
