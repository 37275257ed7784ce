package ledger

import (
	"iter"
	"slices"

	"github.com/pinfi/pinfi/p2p/wire"
)

// A Device is what an account offers of one class of computing power.
type Device struct {
	Owner    Account
	Class    Class
	Declared uint64 // capacity the owner declares, in mCU; 0 when it is retired
	Proven   uint64 // capacity that proofs have shown, in mCU
	Passed   uint32 // storms passed
}

// Retired reports whether the owner has withdrawn the device. What proofs have
// shown of it stays, and so does its place among the owner's MaxClasses.
func (d Device) Retired() bool { return d.Declared == 0 }

// MaxClasses is the most classes in which one account has a device.
const MaxClasses = 16

// DeviceRegister is the body of KindDeviceRegister, which belongs on lane 0. It
// makes a device known, raises the capacity of one that is, or brings a retired one
// back.
type DeviceRegister struct {
	Class    Class  // 1 to MaxClass bytes
	Declared uint64 // mCU, at least 1
}

// Encode returns the canonical body.
func (d DeviceRegister) Encode() []byte {
	w := wire.NewWriter(1 + len(d.Class) + 8)
	w.Text(string(d.Class))
	w.U64(d.Declared)
	return w.Bytes()
}

// DeviceRetire is the body of KindDeviceRetire, which belongs on lane 0. It ends
// what a device offers, until it is registered again. Leases that were accepted
// run on.
type DeviceRetire struct {
	Class Class // 1 to MaxClass bytes
}

// Encode returns the canonical body.
func (d DeviceRetire) Encode() []byte {
	w := wire.NewWriter(1 + len(d.Class))
	w.Text(string(d.Class))
	return w.Bytes()
}

// mayRegister checks a registration. All that it looks at changes with lane 0 of
// the owner only, so it is monotone.
func (s *State) mayRegister(op *Op, d DeviceRegister) Result {
	if op.Lane != 0 {
		return BadLane
	}
	device, known := s.Device(op.Account, d.Class)
	switch {
	case known && d.Declared <= device.Declared:
		return AlreadyDone
	case !known && s.classes[op.Account] >= MaxClasses:
		return Full
	}
	return OK
}

// mayRetire checks a retirement. It is monotone as mayRegister is.
func (s *State) mayRetire(op *Op, d DeviceRetire) Result {
	if op.Lane != 0 {
		return BadLane
	}
	device, known := s.Device(op.Account, d.Class)
	switch {
	case !known:
		return UnknownDevice
	case device.Retired():
		return AlreadyDone
	}
	return OK
}

// declare sets the capacity that the operation's account declares, and leaves
// alone what verdicts on other lanes set.
func (tx *Tx) declare(class Class, declared uint64) {
	d, ok := tx.state.Device(tx.op.Account, class)
	if !ok {
		d = Device{Owner: tx.op.Account, Class: class}
	}
	d.Declared = declared
	tx.SetDevice(d)
}

// roster holds the devices by class, each class in order of owners.
type roster map[Class][]Device

// Owns reports whether an account has anything on the ledger: money in a lane or
// unclaimed, a bond, or a device.
func (s *State) Owns(account Account) bool {
	return s.bonds[account] > 0 || len(s.pledges[account]) > 0 || s.classes[account] > 0 || s.Balance(account) > 0
}

// find returns where the device of an owner is or belongs.
func (r roster) find(owner Account, class Class) (int, bool) {
	return slices.BinarySearchFunc(r[class], owner, func(d Device, owner Account) int { return d.Owner.Compare(owner) })
}

// set adds or replaces a device, and reports whether it is new.
func (r roster) set(d Device) bool {
	i, ok := r.find(d.Owner, d.Class)
	if ok {
		r[d.Class][i] = d
		return false
	}
	r[d.Class] = slices.Insert(r[d.Class], i, d)
	return true
}

// Device returns the device of an account in a class.
func (s *State) Device(owner Account, class Class) (Device, bool) {
	i, ok := s.devices.find(owner, class)
	if !ok {
		return Device{}, false
	}
	return s.devices[class][i], true
}

// Devices yields the devices of a class in order of owners. The state must not
// change meanwhile.
func (s *State) Devices(class Class) iter.Seq[Device] { return slices.Values(s.devices[class]) }
