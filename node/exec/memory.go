package exec

import "github.com/tetratelabs/wazero/experimental"

// pageSize is the size of a page of WebAssembly memory, in bytes.
const pageSize = 1 << 16

// A memoryLimit gives a job its memory and remembers whether it asked for more
// than its limit. It is for one job with one memory, which is all that the
// WebAssembly that we accept can have.
type memoryLimit struct {
	bytes   uint64
	refused bool
	held    []byte // reserved once, so that growing copies nothing
}

// Allocate implements experimental.MemoryAllocator.
func (m *memoryLimit) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements experimental.LinearMemory. It returns nil, which the job
// sees as -1 of memory.grow, when the limit is passed or the host has no more.
func (m *memoryLimit) Reallocate(size uint64) []byte {
	if size > m.bytes {
		m.refused = true
		return nil
	}
	if m.held == nil {
		held, err := reserve(m.bytes)
		if err != nil {
			m.refused = true
			return nil
		}
		m.held = held
	}
	return m.held[:size:size]
}

// Free implements experimental.LinearMemory: the process ends soon after.
func (m *memoryLimit) Free() {}
