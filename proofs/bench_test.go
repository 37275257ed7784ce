package proofs_test

import (
	"testing"

	"github.com/pinfi/pinfi/gpu/kernel"
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// The sizes that are measured: what simulations use, and the set for any CPU.
func sizes() map[string]*proofs.Params {
	tiny := proofs.Params{
		M: 32, N: 32, K: 64, MaxRounds: 8, Samples: 4, Window: 1, Delta: 1, Sample: 1,
		StormPer: 1, Admission: 3, Reference: 1,
	}
	small := tiny
	small.M, small.N, small.K, small.Samples = 512, 512, 2048, 64
	return map[string]*proofs.Params{"32x32x64": &tiny, "512x512x2048": &small}
}

// prove answers a challenge in one round.
func prove(p *proofs.Params, seed p2p.Digest) (*proofs.Transcript, *proofs.Commit) {
	pr := proofs.NewProver(p, seed, kernel.Portable)
	pr.Round()
	t := pr.Finish()
	return t, &proofs.Commit{Rounds: t.Rounds, Root: t.Root, Last: t.Last}
}

func BenchmarkProve(b *testing.B) {
	for name, p := range sizes() { // order-free: names sort the output
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				prove(p, p2p.Digest{1})
			}
			b.ReportMetric(float64(p.Ops())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOPS")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for name, p := range sizes() { // order-free: names sort the output
		b.Run(name, func(b *testing.B) {
			t, c := prove(p, p2p.Digest{1})
			samples := proofs.Samples(p, p2p.Digest{2}, ledger.OpID{3}, 1)
			r := t.Open(samples)
			for b.Loop() {
				if f := proofs.Verify(p, p2p.Digest{1}, c, samples, r); f != proofs.NoFault {
					b.Fatal(f)
				}
			}
		})
	}
}

// BenchmarkStorm is all that a simulation pays for one device in one storm.
func BenchmarkStorm(b *testing.B) {
	p := sizes()["32x32x64"]
	for b.Loop() {
		t, c := prove(p, p2p.Digest{1})
		samples := proofs.Samples(p, p2p.Digest{2}, ledger.OpID{3}, 1)
		if f := proofs.Verify(p, p2p.Digest{1}, c, samples, t.Open(samples)); f != proofs.NoFault {
			b.Fatal(f)
		}
	}
}

// [PRF-21] A proof made with a kernel of gpu/kernel is sound to a verifier that has
// arithmetic of its own.
func TestKernelsProve(t *testing.T) {
	for _, k := range kernel.All() {
		for name, p := range sizes() { // order-free: independent checks
			pr := proofs.NewProver(p, p2p.Digest{1}, k.Multiply)
			pr.Round()
			tr := pr.Finish()
			c := &proofs.Commit{Rounds: tr.Rounds, Root: tr.Root, Last: tr.Last}
			samples := proofs.Samples(p, p2p.Digest{2}, ledger.OpID{3}, 1)
			if f := proofs.Verify(p, p2p.Digest{1}, c, samples, tr.Open(samples)); f != proofs.NoFault {
				t.Errorf("%s at %s: %v", k.Name, name, f)
			}
		}
	}
}
