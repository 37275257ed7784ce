// Package ledger is the money of pinfi: canonical signed operations, and the
// State that is a pure fold over them. It is not agreement and not storage:
// ledger/replica decides which operations count, ledger/store keeps bytes. It
// knows nothing of leases or proofs; those are Contracts that market and proofs
// hand to New.
//
// The calls you need are New, State.Check and State.Apply. An Op names its place
// (account, lane, sequence number) and spends only from its own lane; money for
// somebody else becomes a credit, and stands in the receiver's lane after one of
// his operations claims it. So lanes only ever wait for each other, and any order
// of the same operations that respects lanes gives the same state.
//
// The invariant: all value moves through one function, from one Bucket to
// another, so that Supply.Total never changes after genesis.
package ledger
