package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// stories says what each story shows; the sentences stand in docs/spec/machine.md.
var stories = map[string]string{
	"bid_to_refund":    "[MCH-60]",
	"false_price":      "[MCH-61]",
	"price_moved":      "[MCH-62]",
	"silent_provider":  "[MCH-63]",
	"silent_client":    "[MCH-64]",
	"provider_restart": "[MCH-65]",
	"client_restart":   "[MCH-66]",
	"witness_restart":  "[MCH-67]",
	"storm":            "[MCH-68]",
	"late_commit":      "[MCH-69]",
	"wrong_tile":       "[MCH-70]",
	"wrong_beat":       "[MCH-71]",
	"garbage":          "[MCH-72]",
	"budget":           "[MCH-73]",
	"check":            "[MCH-74]",
	"no_module":        "[MCH-75]",
	"withheld_output":  "[MCH-76]",
}

// [MCH-77] The tables of times, limits and records are those of the code; and every
// story has its sentence.
func TestSpecification(t *testing.T) {
	b, err := os.ReadFile("../../docs/spec/machine.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := string(b)
	want := func(row string) {
		if !strings.Contains(spec, "\n"+row) {
			t.Errorf("the specification has no line that begins with %s", row)
		}
	}
	for _, table := range []any{Timing{}.withDefaults(), Limits{}.withDefaults()} {
		v := reflect.ValueOf(table)
		for i := range v.NumField() {
			want(fmt.Sprintf("| %s | %v |", v.Type().Field(i).Name, v.Field(i).Interface()))
		}
	}
	for i, name := range []string{"frame", "op", "sale", "job", "purchase", "task", "pay", "paid", "bundle", "evidence"} {
		want(fmt.Sprintf("| %d | %s |", RecordFrame+RecordKind(i), name))
	}
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) != len(stories) {
		t.Errorf("%d stories, %d sentences: %v", len(files), len(stories), err)
	}
	for _, path := range files {
		id := stories[strings.TrimSuffix(filepath.Base(path), ".txt")]
		if id == "" {
			t.Errorf("%s has no sentence", path)
			continue
		}
		want(id)
	}
}
