package ledger

import (
	"iter"
	"slices"
)

// A Device is what an account offers of one class of computing power.
type Device struct {
	Owner    Account
	Class    Class
	Declared uint64 // capacity the owner declares, in mCU
	Proven   uint64 // capacity that proofs have shown, in mCU
	Passed   uint32 // storms passed
}

// roster holds the devices by class, each class in order of owners.
type roster map[Class][]Device

// Owns reports whether an account has anything on the ledger: money in a lane or
// unclaimed, a bond, or a device.
func (s *State) Owns(account Account) bool {
	return s.bonds[account] > 0 || s.classes[account] > 0 || s.Balance(account) > 0
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
