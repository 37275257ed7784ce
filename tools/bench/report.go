package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// A report is what was measured.
type report struct {
	limit series
	rows  []row
}

// A row is what the rounds say of one figure.
type row struct {
	figure
	series
	ratios []float64 // to the L around each run
}

// add takes note of a run of the i-th figure.
func (r *report) add(f figure, i int, s sample, limit float64) {
	if i == len(r.rows) {
		r.rows = append(r.rows, row{figure: f})
	}
	at := &r.rows[i]
	at.add(s.perCPU(), s.perWall())
	at.ratios = append(at.ratios, s.perCPU()/limit)
}

// A line is a row or a relation as it is shown. CPU and Wall are medians: of the
// rate per second of processor time and of wall time, or where Millis of the
// milliseconds for one.
type line struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	CPU     float64 `json:"median,omitempty"`
	Least   float64 `json:"least,omitempty"`
	Most    float64 `json:"most,omitempty"`
	Wall    float64 `json:"median_by_wall,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`  // to L, or of a relation
	Spread  float64 `json:"spread,omitempty"` // of the ratios: most less least
	Target  float64 `json:"target,omitempty"` // of Ratio at least; of CPU at most where Millis
	Met     *bool   `json:"met,omitempty"`    // absent without a target
	Millis  bool    `json:"millis,omitempty"`
	Samples int     `json:"samples,omitempty"`  // runs
	Of      string  `json:"relation,omitempty"` // what is compared with what
}

// lines returns what is shown: L, the figures, the relations between them.
func (r *report) lines() []line {
	out := []line{r.limit.line("L", "signature")}
	for i := range r.rows {
		out = append(out, r.rows[i].line())
	}
	for _, rel := range relations() {
		over, under := r.find(rel.over), r.find(rel.under)
		if over == nil || under == nil {
			continue
		}
		ratio := median(over.perCPU) / median(under.perCPU)
		if rel.wall {
			ratio = median(over.perWall) / median(under.perWall)
		}
		met := ratio >= rel.target
		out = append(out, line{Name: rel.name, Ratio: ratio, Target: rel.target, Met: &met, Of: rel.what})
	}
	return out
}

// find returns the row of a figure, or nil when it did not run.
func (r *report) find(name string) *row {
	for i := range r.rows {
		if r.rows[i].name == name {
			return &r.rows[i]
		}
	}
	return nil
}

// line sums up rates.
func (s *series) line(name, unit string) line {
	return line{
		Name: name, Unit: unit, Samples: len(s.perCPU), CPU: median(s.perCPU), Wall: median(s.perWall),
		Least: slices.Min(s.perCPU), Most: slices.Max(s.perCPU),
	}
}

func (r *row) line() line {
	out := r.series.line(r.name, r.unit)
	out.Target, out.Millis = r.target, r.millis
	var met bool
	switch {
	case r.millis:
		out.CPU, out.Wall = 1000/out.CPU, 1000/out.Wall
		out.Least, out.Most = 1000/out.Most, 1000/out.Least
		met = out.CPU <= r.target
	case r.target > 0:
		out.Ratio, out.Spread = median(r.ratios), slices.Max(r.ratios)-slices.Min(r.ratios)
		met = out.Ratio >= r.target
	default:
		return out // nothing to compare with
	}
	out.Met = &met
	return out
}

// writeJSON prints the report for programs.
func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Go      string `json:"go"`
		System  string `json:"system"`
		Cores   int    `json:"cores"`
		Figures []line `json:"figures"`
	}{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, runtime.NumCPU(), r.lines()})
}

// writeTable prints the report for people.
func (r *report) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tper CPU second\tleast to most\tper second\tratio\tspread\ttarget\t")
	for _, l := range r.lines() {
		if l.Of != "" {
			fmt.Fprintf(t, "%s\t%s\t\t\t%.2f\t\tat least %.2f\t%s\n", l.Name, l.Of, l.Ratio, l.Target, l.verdict())
			continue
		}
		unit, ratio, target := l.Unit, "\t", ""
		switch {
		case l.Millis:
			unit, target = "ms for a "+l.Unit, fmt.Sprintf("at most %.0f ms", l.Target)
		case l.Target > 0:
			ratio, target = fmt.Sprintf("%.3f\t%.3f", l.Ratio, l.Spread), fmt.Sprintf("at least %.2f", l.Target)
		}
		fmt.Fprintf(t, "%s\t%.0f %s\t%.0f to %.0f\t%.0f\t%s\t%s\t%s\n",
			l.Name, l.CPU, unit, l.Least, l.Most, l.Wall, ratio, target, l.verdict())
	}
	return t.Flush()
}

// verdict says in a word how the line stands to its target.
func (l *line) verdict() string {
	switch {
	case l.Met == nil:
		return ""
	case *l.Met:
		return "met"
	default:
		return "missed"
	}
}
