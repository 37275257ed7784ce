package ledger

import "fmt"

// A Kind says what an operation does. Kinds are append-only: a number is never
// reused. The zero Kind is no operation.
type Kind uint8

// The kinds of operation. A State refuses those for which it has no Contract.
const (
	KindTransfer       Kind = 1  // pay another account
	KindLaneMove       Kind = 2  // move money to another lane of one's own
	KindDeviceRegister Kind = 3  // declare a device and its capacity
	KindDeviceRetire   Kind = 4  // withdraw a device
	KindStakeBond      Kind = 5  // bond money as stake
	KindStakeUnbond    Kind = 6  // ask for stake back
	KindLeaseOpen      Kind = 7  // client escrows the price of a job
	KindLeaseAccept    Kind = 8  // provider takes the job
	KindLeaseRedeem    Kind = 9  // provider cashes a voucher
	KindLeaseClose     Kind = 10 // provider settles with the last voucher
	KindVoucherCancel  Kind = 11 // client asks for the escrow of a lease nobody accepted
	KindRewardClaim    Kind = 12 // provider claims its part of a pot
	KindProofCommit    Kind = 13 // provider commits to proof work
	KindProofVerdict   Kind = 14 // verifier tells whether the work was done
	KindKeyRotate      Kind = 15 // owner changes the key of an account
	KindBurn           Kind = 16 // destroy money
	KindHashLock       Kind = 17 // lock money behind a preimage
	KindProofDemand    Kind = 18 // anyone demands a proof
	KindProofAnswer    Kind = 19 // provider answers a demand
	KindResultDispute  Kind = 20 // client disputes a result
	KindFaucetClaim    Kind = 21 // newcomer claims the faucet's allowance
	KindHashClaim      Kind = 22 // show a preimage, take the locked money
)

// kindNames are the names of the kinds, by number.
var kindNames = [...]string{
	KindTransfer: "transfer", KindLaneMove: "lane-move", KindDeviceRegister: "device-register",
	KindDeviceRetire: "device-retire", KindStakeBond: "stake-bond", KindStakeUnbond: "stake-unbond",
	KindLeaseOpen: "lease-open", KindLeaseAccept: "lease-accept", KindLeaseRedeem: "lease-redeem",
	KindLeaseClose: "lease-close", KindVoucherCancel: "voucher-cancel", KindRewardClaim: "reward-claim",
	KindProofCommit: "proof-commit", KindProofVerdict: "proof-verdict", KindKeyRotate: "key-rotate",
	KindBurn: "burn", KindHashLock: "hash-lock", KindProofDemand: "proof-demand",
	KindProofAnswer: "proof-answer", KindResultDispute: "result-dispute", KindFaucetClaim: "faucet-claim",
	KindHashClaim: "hash-claim",
}

// String returns the kind's name.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// MarshalText writes the kind as String does.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// PaysFee reports whether an operation of the kind must pay at least the
// genesis's MinFee. Others may pay nothing. LeaseAccept and LeaseClose are bounded
// by the leases that clients paid for, HashClaim by the locks, ProofVerdict by the
// commits there are.
// DeviceRegister costs nothing at all, so that a provider can begin without money:
// an account has MaxClasses devices, but accounts are free. DeviceRetire pays, or
// registering and retiring could go on for ever. ProofCommit is bounded by devices
// and storms.
func (k Kind) PaysFee() bool {
	switch k {
	case KindTransfer, KindLaneMove, KindDeviceRetire, KindStakeBond, KindLeaseOpen, KindBurn, KindHashLock:
		return true
	default:
		return false
	}
}
