package machine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories in testdata print into their files")

// A story is a play in testdata/stories: commands, "----", what happens, an empty
// line. What stands after # is for the reader. Run with -rewrite to write down what
// happens now, and read the difference.
//
//	witness NAME   provider NAME [units=N] [reserve=N]   client NAME [tokens=N]   storms PER
//	start [NAME...]   stop NAME...   order CLIENT JOB [tasks=] [check=] [max=] [units=] [seconds=]
//	run TIME   until NAME FACT [TIME]   money   leases [NAME]
//	drop KIND [from=] [to=] [times=N]   heal
//	job PROVIDER takes=TIME | hangs | stuck | fails=WORDS | wrong | keeps
//	only [TAG...]   show TAG...   hide TAG...   all
//
// and those in actors below. A tag is a kind of message, save (own records), keep
// (those of others), run, stop, fetch, prove, open, check, or a fact.
type story struct {
	*stage
	w     *words
	out   strings.Builder
	tags  map[string]bool
	jobs  map[string]Job
	seen  map[wire.Kind]*arrival // the last message of each kind
	until struct {
		p    *player
		fact string
		met  bool
	}
}

// tagsHidden are the tags that no story shows unless it says so.
var tagsHidden = []string{"frame", "beat", "heads", "items", "want", "keep", "applied"}

// [MCH-2] The same seed and events give the same effects: each story is played twice.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("stories: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, all := play(t, string(b))
			if again, every := play(t, string(b)); again != got || every != all {
				t.Errorf("played twice, the story differs; the second time:\n%s", again)
			}
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("the story has changed; run with -rewrite and read the difference. Now:\n%s", got)
			}
		})
	}
}

// play returns the text with everything that happens as it is now, and a digest of
// every effect of every step, shown or not.
func play(t tester, text string) (string, p2p.Digest) {
	st := &story{stage: newStage(t, never), jobs: map[string]Job{}, seen: map[wire.Kind]*arrival{}}
	st.only(nil)
	var all p2p.Digest
	st.watch = append(st.watch, st.print, func(p *player, _ Event, fx []Effect) {
		for _, f := range fx {
			all = p2p.Sum("step", all[:], []byte(st.w.at()), []byte(p.name), effectBytes(f))
		}
	})
	var out strings.Builder
	old := false // inside the old output
	for line := range strings.Lines(text) {
		switch {
		case line == "----\n":
			out.WriteString(line + st.out.String())
			st.out.Reset()
			old = true
		case line == "\n":
			old = false
			out.WriteString(line)
		case !old:
			out.WriteString(line)
			command, _, _ := strings.Cut(line, "#")
			if words := strings.Fields(command); len(words) > 0 {
				st.do(words)
			}
		}
	}
	return out.String(), all
}

// effectBytes returns all that an effect says.
func effectBytes(fx Effect) []byte {
	switch fx := fx.(type) {
	case Publish:
		return append([]byte(fx.Topic), fx.Data...)
	case Send:
		return append(append([]byte(fx.Protocol), fx.To[:]...), fx.Data...)
	case Save:
		var all []byte
		for _, r := range fx.Batch {
			all = append(append(append(all, byte(r.Kind)), r.Key...), r.Value...)
		}
		return all
	case Check:
		return fmt.Appendf(nil, "check %v %v %v %v %v", fx.ID, fx.Seed, fx.Commit, fx.Samples, *fx.Reveal)
	default:
		return fmt.Appendf(nil, "%T %v", fx, fx)
	}
}

// print prints a step, unless all of its effects are hidden.
func (st *story) print(p *player, ev Event, fx []Effect) {
	head := st.w.event(ev)
	first := true
	for _, f := range fx {
		if n, ok := f.(Note); ok && p == st.until.p && n.Fact.String() == st.until.fact {
			st.until.met = true
		}
		tag, text := st.w.effect(p, f)
		if !st.tags[tag] {
			continue
		}
		if first {
			fmt.Fprintf(&st.out, "%s %s %s\n", st.w.at(), p.name, head)
			first = false
		}
		fmt.Fprintf(&st.out, "\t%s\n", text)
	}
}

// only shows the tags and no others; nil shows all but those that are hidden by
// default.
func (st *story) only(tags []string) {
	st.tags = map[string]bool{}
	for _, t := range tags {
		st.tags[t] = true
	}
	if tags != nil {
		return
	}
	for k := range wire.Kind(255) {
		st.tags[k.String()] = true
	}
	for f := range Fact(255) {
		st.tags[strings.ReplaceAll(f.String(), " ", "-")] = true
	}
	for _, t := range []string{"save", "run", "stop", "fetch", "prove", "open", "check"} {
		st.tags[t] = true
	}
	for _, t := range tagsHidden {
		st.tags[t] = false
	}
}

// args splits name=value words from the others.
func args(words []string) (plain []string, set map[string]string) {
	set = map[string]string{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			set[k] = strings.ReplaceAll(v, "_", " ")
		} else {
			plain = append(plain, w)
		}
	}
	return plain, set
}

func (st *story) number(set map[string]string, name string, def uint64) uint64 {
	text, ok := set[name]
	if !ok {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		st.t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

func (st *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		st.t.Fatal(err)
	}
	return d
}

// do carries out one command.
func (st *story) do(line []string) {
	st.t.Helper()
	plain, set := args(line[1:])
	switch line[0] {
	case "storms":
		st.g.Proofs.StormPer = uint32(st.number(map[string]string{"per": plain[0]}, "per", 1))
	case "witness":
		st.add(plain[0], true, 0, nil)
	case "provider":
		st.add(plain[0], false, 0, sells(st.number(set, "units", 4000), ledger.Amount(st.number(set, "reserve", 0))))
	case "client":
		st.add(plain[0], false, ledger.Amount(st.number(set, "tokens", 1000)), nil)
	case "start":
		if st.w == nil {
			st.w = newWords(st.stage)
		}
		for _, p := range st.players {
			if p.m == nil && (len(plain) == 0 || slices.Contains(plain, p.name)) {
				st.start(p)
			}
		}
	case "stop":
		for _, name := range plain {
			st.stop(st.player(name))
		}
	case "order":
		j := testJob(plain[1], uint32(st.number(set, "tasks", 1)), uint32(st.number(set, "check", 0)))
		j.Max = ledger.Amount(st.number(set, "max", uint64(j.Max)))
		j.Units = st.number(set, "units", j.Units)
		j.Seconds = uint32(st.number(set, "seconds", uint64(j.Seconds)))
		st.w.names[j.ID], st.jobs[plain[1]] = plain[1], j
		st.order(st.player(plain[0]), j)
	case "run":
		st.run(st.duration(plain[0]), nil)
	case "until":
		st.wait(plain)
	case "drop":
		st.rules = append(st.rules, &rule{
			kind: kindNamed(plain[0]), from: set["from"], to: set["to"], count: int(st.number(set, "times", 1<<40)),
		})
	case "heal":
		st.rules, st.twists = nil, nil
	case "job":
		st.host(st.player(plain[0]), plain[1:], set)
	case "only":
		st.only(append([]string{""}, plain...))
	case "all":
		st.only(nil)
	case "show", "hide":
		for _, t := range plain {
			st.tags[t] = line[0] == "show"
		}
	case "money":
		st.money()
	case "leases":
		st.leases(plain)
	default:
		actor, ok := actors[line[0]]
		if !ok {
			st.t.Fatalf("no command %q", line[0])
		}
		actor(st, plain, set)
	}
}

// wait runs until a player notes a fact, for at most a minute or as long as said.
func (st *story) wait(plain []string) {
	st.t.Helper()
	most := time.Minute
	if len(plain) > 2 {
		most = st.duration(plain[2])
	}
	st.until.p, st.until.fact, st.until.met = st.player(plain[0]), strings.ReplaceAll(plain[1], "-", " "), false
	st.run(most, func() bool { return st.until.met })
	if !st.until.met {
		fmt.Fprintf(&st.out, "%s: not in %v\n", strings.Join(plain, " "), most)
	}
}

// host sets what a player's host does.
func (st *story) host(p *player, plain []string, set map[string]string) {
	p.hangs, p.stuck = slices.Contains(plain, "hangs"), slices.Contains(plain, "stuck")
	p.wrong, p.keeps = slices.Contains(plain, "wrong"), slices.Contains(plain, "keeps")
	p.fails = set["fails"]
	if d, ok := set["takes"]; ok {
		p.takes = st.duration(d)
	}
}

func kindNamed(name string) wire.Kind {
	for k := range wire.Kind(255) {
		if k.String() == name {
			return k
		}
	}
	return 0
}

// money prints where all money is, as the running players see it.
func (st *story) money() {
	var first *Machine
	same := true
	for _, p := range st.players {
		if p.m == nil {
			continue
		}
		if first == nil {
			first = p.m
		}
		same = same && p.m.replica.State().Root() == first.replica.State().Root()
	}
	state := first.replica.State()
	for _, p := range st.players {
		if b := state.Balance(p.key.id); b > 0 {
			fmt.Fprintf(&st.out, "%s has %v\n", p.name, b)
		}
	}
	sum := state.Supply()
	fmt.Fprintf(&st.out, "escrow %v, pots %v, burned %v; conserved %v; one state %v\n",
		sum.Escrowed, sum.Pots, sum.Burned, state.Conserved(), same)
}

// leases prints the leases as a player sees them, the last one if none is named,
// in the order of their names.
func (st *story) leases(plain []string) {
	m := st.players[len(st.players)-1].m
	if len(plain) > 0 {
		m = st.player(plain[0]).m
	}
	var lines []string
	for l := range m.leases.Leases() {
		line := fmt.Sprintf("%s %s for %s: %v, escrow %v", st.w.lease(l.ID), st.w.peer(l.Provider),
			st.w.peer(l.Client), l.State, l.Escrow)
		if l.State == market.StateClosed {
			line += fmt.Sprintf(", %d s used, paid %v, refund %v, %v", l.Used, l.Paid.Total(), l.Refund, l.Reason)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(&st.out, line)
	}
}

// An actor is a command that plays an enemy or an accident.
type actor func(st *story, plain []string, set map[string]string)

var actors = map[string]actor{
	// replay KIND: the last message of the kind arrives once more.
	"replay": func(st *story, plain []string, _ map[string]string) {
		a := st.seen[kindNamed(plain[0])]
		if a == nil {
			st.t.Fatalf("no %s was sent", plain[0])
		}
		st.step(a.to, a.make())
	},
	// watch: messages can be replayed from here on.
	"watch": func(st *story, _ []string, _ map[string]string) {
		st.watch = append(st.watch, func(p *player, ev Event, _ []Effect) {
			var data []byte
			switch ev := ev.(type) {
			case Gossiped:
				data = ev.Data
			case Received:
				data = ev.Data
			default:
				return
			}
			if kind, _, err := wire.Open(data); err == nil {
				st.seen[kind] = &arrival{to: p, make: func() Event { return ev }}
			}
		})
	},
	// garbage NAME from=NAME: bytes that mean nothing; from= nobody: gossip.
	"garbage": func(st *story, plain []string, set map[string]string) {
		data := []byte(strings.Join(plain[1:], " "))
		if from := set["from"]; from != "" {
			st.step(st.player(plain[0]), Received{From: st.player(from).key.id, Data: data})
			return
		}
		st.step(st.player(plain[0]), Gossiped{Data: data})
	},
	// lie PROVIDER charge=N: its quotes charge N atoms, under its true signature.
	"lie": func(st *story, plain []string, set map[string]string) {
		liar := st.player(plain[0])
		charge := st.number(set, "charge", 1)
		st.twists = append(st.twists, func(from, _ *player, kind wire.Kind, data []byte) []byte {
			if from != liar || kind != wire.KindQuoted {
				return data
			}
			_, r, _ := wire.Open(data)
			q := market.TakeQuote(r)
			q.Charge = ledger.Amount(charge)
			q.Sig = liar.cfg.Crypto.Sign(q.SigningDigest(st.g.Network()))
			return wire.Seal(wire.KindQuoted, q.Put)
		})
	},
	// brag PROVIDER used=N: its reports say that N seconds have passed.
	"brag": func(st *story, plain []string, set map[string]string) {
		liar := st.player(plain[0])
		st.twists = append(st.twists, func(from, _ *player, kind wire.Kind, data []byte) []byte {
			if from != liar || kind != wire.KindReport {
				return data
			}
			_, r, _ := wire.Open(data)
			p := market.TakeReport(r)
			p.Used = st.number(set, "used", 1)
			return wire.Seal(wire.KindReport, p.Put)
		})
	},
	// beat NAME: NAME hears a beat of this slot by a witness that is not scheduled.
	"beat": func(st *story, plain []string, _ map[string]string) {
		g, p := st.g, st.player(plain[0])
		beacon := ledger.GenesisBeacon(g.Network())
		slot := g.SlotAt(st.now)
		wrong := (int(ledger.Schedule(&g.Ledger, beacon, slot)) + 1) % len(g.Ledger.Witnesses)
		b := ledger.Beat{Slot: slot, Witness: uint16(wrong)}
		b.Proof = cheapProve(g.Ledger.Witnesses[wrong].VRF, ledger.BeatAlpha(beacon, slot))
		delete(p.m.beats.held, slot)
		st.step(p, Gossiped{Data: wire.Seal(wire.KindBeat, b.AppendTo)})
	},
	// rival CLIENT PROVIDER: CLIENT takes 2000 mCU without having asked, and so moves
	// the price.
	"rival": func(st *story, plain []string, _ map[string]string) {
		rival, provider := st.player(plain[0]), st.player(plain[1])
		start := st.leaseUnasked(rival, provider, 2000, 1)[0]
		st.post(&arrival{at: st.now.Add(st.duration("150ms")), to: provider, life: -1, make: func() Event {
			return Received{From: rival.key.id, Data: wire.Seal(wire.KindStart, start.Put)}
		}})
	},
	// fork NAME TO...: NAME signs a second operation for the place of the one that is
	// under way, and tells some.
	"fork": func(st *story, plain []string, _ map[string]string) {
		p := st.player(plain[0])
		flying := p.m.lane(0).flying
		if len(flying) == 0 {
			st.t.Fatalf("%s has no operation under way", p.name)
		}
		rival := *flying[0]
		rival.Body = ledger.DeviceRegister{Class: testClass, Declared: 1}.Encode()
		rival.Sig = p.cfg.Crypto.Sign(rival.SigningDigest())
		data := sealOp(&rival)
		for _, name := range plain[1:] {
			st.step(st.player(name), Gossiped{Data: data})
		}
	},
	// votes NAME: what a witness has voted for.
	"votes": func(st *story, plain []string, _ map[string]string) {
		p := st.player(plain[0])
		for _, f := range p.m.replica.FramesAfter(make([]uint32, len(st.g.Ledger.Witnesses)), 1000) {
			if int(f.Witness) != p.m.witness || len(f.Votes)+len(f.Bundles) == 0 {
				continue
			}
			fmt.Fprintf(&st.out, "%s frame %d: %s\n", p.name, f.Seq, st.w.votes(f))
		}
	},
	// devices: what every provider has proven.
	"devices": func(st *story, _ []string, _ map[string]string) {
		m := st.players[0].m
		for d := range m.replica.State().Devices(testClass) {
			fmt.Fprintf(&st.out, "%s: %d storms passed, %d of %d mCU proven\n",
				st.w.peer(d.Owner), d.Passed, d.Proven, d.Declared)
		}
	},
	// disk NAME: the records that a player has saved.
	"disk": func(st *story, plain []string, _ map[string]string) {
		for _, r := range st.player(plain[0]).snapshot() {
			fmt.Fprintln(&st.out, st.w.record(r))
		}
	},
}
