package ledger

import (
	"fmt"

	"github.com/pinfi/pinfi/p2p/wire"
)

// Body returns the decoded body of an operation: a Transfer, say, or what the
// contract of its kind makes of it. It is for those who show operations; what counts
// is what Apply does.
func (s *State) Body(op *Op) (any, error) {
	by := s.handlers[op.Kind]
	if by == nil {
		return nil, fmt.Errorf("body of %v: %w", op.Kind, wire.ErrValue)
	}
	return by.Decode(op.Kind, op.Body)
}
