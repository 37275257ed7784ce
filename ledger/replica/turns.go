package replica

// A turns hands out what is wanted, some at a time, each in turn: first what has waited
// longest since it was handed out, or came. It does not know what is wanted any more; a
// call leaves out what is not. The zero value is empty.
type turns[K any] struct {
	ids  []K
	head int // of ids, the first that is in
}

// turnsSlack is how many ids that are no longer wanted are kept besides as many as are
// wanted.
const turnsSlack = 64

// add puts an id last that is not in; so many others are wanted.
func (t *turns[K]) add(id K, wanted int, want func(K) bool) {
	if len(t.ids)-t.head > 2*wanted+turnsSlack {
		t.sweep(want)
	}
	t.push(id)
}

// push puts an id last.
func (t *turns[K]) push(id K) {
	if t.head > len(t.ids)/2 {
		t.ids, t.head = append(t.ids[:0], t.ids[t.head:]...), 0
	}
	t.ids = append(t.ids, id)
}

// sweep forgets what is not wanted.
func (t *turns[K]) sweep(want func(K) bool) {
	kept := t.ids[:0]
	for _, id := range t.ids[t.head:] {
		if want(id) {
			kept = append(kept, id)
		}
	}
	t.ids, t.head = kept, 0
}

// take returns at most limit wanted ids that are due, and puts what it has looked at and
// is wanted last. It looks at turnsLook ids that are not due at most, and at what is not
// wanted once.
func (t *turns[K]) take(limit int, want, due func(K) bool) (out []K) {
	idle := 0
	for left := len(t.ids) - t.head; left > 0 && len(out) < limit && idle < turnsLook; left-- {
		id := t.ids[t.head]
		t.head++
		if !want(id) {
			continue
		}
		t.push(id)
		if due(id) {
			out = append(out, id)
		} else {
			idle++
		}
	}
	return out
}

// turnsLook is how many ids that are not due take looks at.
const turnsLook = 1024
