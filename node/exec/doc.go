// Package exec runs jobs: WebAssembly modules (WASI preview 1) that strangers
// sent, each in a child process of its own that can be killed at any moment.
//
// It is not a market, keeps no queue and opens no network connection. Make a
// Runner with New and call Run; give the hidden command that Config.ChildArgs
// names to ChildMain; a client calls CheckModule before it pays. A job reads
// /in, writes /out, has PINFI_TASK and PINFI_TASKS in its environment, a fixed
// clock, repeatable randomness and nothing else, so that the same module with the
// same input writes the same bytes everywhere. The invariant: when Run returns,
// no process of the job runs and no file of it is left, but in the blob store.
package exec
