package weather

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// [SIM-3] A draw depends on the seed, the stream, the entity and the count, and
// on nothing else.
func TestDrawDependsOnEachArgument(t *testing.T) {
	base := Draw(1, StreamDrop, 2, 3)
	if base != Draw(1, StreamDrop, 2, 3) {
		t.Fatal("two draws with the same arguments differ")
	}
	for name, other := range map[string]uint64{
		"seed": Draw(2, StreamDrop, 2, 3), "stream": Draw(1, StreamDelay, 2, 3),
		"entity": Draw(1, StreamDrop, 3, 3), "count": Draw(1, StreamDrop, 2, 4),
		"entity and count swapped": Draw(1, StreamDrop, 3, 2),
	} {
		if other == base {
			t.Errorf("another %s gives the same draw", name)
		}
	}
}

// Draws are spread evenly enough for a chance to mean what it says.
func TestChanceIsWhatItSays(t *testing.T) {
	const draws = 200_000
	for _, c := range []Chance{0, 10_000, 250_000, 500_000, Certain} {
		hits := 0
		for n := range uint64(draws) {
			if c.Hits(Draw(7, StreamDrop, n%5, n/5)) {
				hits++
			}
		}
		want := draws * int(c) / int(Certain)
		if diff := max(hits-want, want-hits); diff > draws/200 {
			t.Errorf("chance %d ppm: %d hits of %d, want about %d", c, hits, draws, want)
		}
	}
}

func TestBetweenStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(rapid.Int64Range(0, 1000).Draw(t, "least"))
		most := time.Duration(rapid.Int64Range(0, 1000).Draw(t, "most"))
		got := Between(rapid.Uint64().Draw(t, "draw"), least, most)
		if got < least || got > max(least, most) {
			t.Fatalf("between %d and %d: got %d", least, most, got)
		}
	})
	if Between(0, 3, 5) != 3 || Between(1<<64-1, 3, 5) != 5 {
		t.Error("the bounds themselves cannot be drawn")
	}
}

// [SIM-5] Every partition and every outage ends before the calm, whatever the
// seed, and no node is down twice at once.
func TestPlanEndsWithTheStorm(t *testing.T) {
	seen := struct{ drop, cut, oneWay, outage, together int }{}
	for seed := range uint64(2000) {
		p := New(seed, 5, Rough()).Plan()
		for _, cut := range p.Partitions {
			if cut.From >= cut.Until || cut.Until > p.Calm {
				t.Fatalf("seed %d: partition from %v until %v, calm at %v", seed, cut.From, cut.Until, p.Calm)
			}
			seen.cut++
			if cut.OneWay {
				seen.oneWay++
			}
		}
		for i, o := range p.Outages {
			if o.At >= o.Until || o.Until > p.Calm || o.Node < 0 || o.Node > 4 || o.Moment < BeforeSave || o.Moment > Midway {
				t.Fatalf("seed %d: outage %+v, calm at %v", seed, o, p.Calm)
			}
			seen.outage++
			for _, before := range p.Outages[:i] {
				if o.At <= before.Until && o.Node == before.Node {
					t.Fatalf("seed %d: node %d is down twice at %v", seed, o.Node, o.At)
				}
				if o.At <= before.Until {
					seen.together++
				}
			}
		}
		if p.Link.Drop > 200_000 {
			seen.drop++
		}
	}
	if seen.drop < 100 || seen.cut < 1000 || seen.oneWay < 100 || seen.outage < 1000 || seen.together < 10 {
		t.Errorf("2000 seeds draw too little variety: %+v", seen)
	}
}

// [SIM-4] In the calm nothing is lost, nothing is doubled, and no delay is over
// 20 ms.
func TestCalmLosesNothing(t *testing.T) {
	w := New(3, 5, Rough())
	for n := range uint64(20_000) {
		f := w.Fate(w.Plan().Calm, int(n%5), int((n+1)%5), n)
		if f.Copies != 1 || f.Delay[0] < time.Millisecond || f.Delay[0] > 20*time.Millisecond {
			t.Fatalf("message %d: %+v", n, f)
		}
	}
}

func TestStormLosesDoublesAndDelays(t *testing.T) {
	plan := Plan{Calm: time.Minute, Link: Link{
		Drop: 200_000, Duplicate: 100_000, Slow: 100_000,
		Least: time.Millisecond, Most: 50 * time.Millisecond, Straggler: 2 * time.Second,
	}}
	w := Fixed(1, plan)
	const sent = 100_000
	var lost, doubled, late int
	for n := range uint64(sent) {
		f := w.Fate(0, 0, 1, n)
		switch f.Copies {
		case 0:
			lost++
		case 2:
			doubled++
		}
		if f.Copies > 0 && f.Delay[0] > 50*time.Millisecond {
			late++
		}
		if f.Delay[0] > 2*time.Second {
			t.Fatalf("message %d takes %v", n, f.Delay[0])
		}
	}
	near := func(what string, got, want int) {
		if max(got-want, want-got) > sent/100 {
			t.Errorf("%s: %d of %d, want about %d", what, got, sent, want)
		}
	}
	near("lost", lost, 20_000)
	near("doubled", doubled, 8_000)
	near("late", late, 8_000)
}

// A one-way partition swallows messages in one direction only, and only while it
// lasts.
func TestOneWayPartition(t *testing.T) {
	cut := Partition{From: time.Second, Until: 2 * time.Second, Side: []bool{true, false, true}, OneWay: true}
	w := Fixed(1, Plan{Calm: time.Minute, Partitions: []Partition{cut}})
	for _, c := range []struct {
		now      time.Duration
		from, to int
		want     bool
	}{
		{time.Second, 0, 1, true},
		{time.Second, 2, 1, true},
		{time.Second, 1, 0, false},
		{time.Second, 0, 2, false},
		{time.Second - 1, 0, 1, false},
		{2 * time.Second, 0, 1, false},
		{2*time.Second - 1, 0, 1, true},
	} {
		if got := w.Cut(c.now, c.from, c.to); got != c.want {
			t.Errorf("at %v from %d to %d: cut %v, want %v", c.now, c.from, c.to, got, c.want)
		}
	}
}

// [SIM-3] The weather between two nodes is the same in a network of five and in
// one of six.
func TestMoreNodesLeaveLinksAlone(t *testing.T) {
	climate := Climate{Storm: time.Minute, DropMax: 500_000, SlowMax: 200_000, DelayMax: time.Second}
	small, large := New(11, 5, climate), New(11, 6, climate)
	for n := range uint64(1000) {
		if a, b := small.Fate(time.Second, 1, 3, n), large.Fate(time.Second, 1, 3, n); a != b {
			t.Fatalf("message %d: %+v with five nodes, %+v with six", n, a, b)
		}
	}
}
