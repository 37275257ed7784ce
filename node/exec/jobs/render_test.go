package jobs_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/exec/jobs"
	"github.com/pinfi/pinfi/p2p"
)

// TestMain is a child process when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "exec-wasm" {
		os.Exit(exec.ChildMain(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A bench runs the render job and keeps what it writes.
type bench struct {
	runner *exec.Runner
	store  *blob.Store
	dir    string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	dir := t.TempDir()
	store, err := blob.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	runner, err := exec.New(exec.Config{
		Store: store, CacheDir: filepath.Join(dir, "cache"), WorkDir: filepath.Join(dir, "work"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "render.wasm"), jobs.Render, 0o600); err != nil {
		t.Fatal(err)
	}
	return &bench{runner: runner, store: store, dir: dir}
}

// render renders one band of a scene.
func (b *bench) render(t testing.TB, scene []byte, task, tasks uint32) (exec.Result, []jobs.Tile) {
	t.Helper()
	input, out := filepath.Join(b.dir, "scene"), filepath.Join(b.dir, fmt.Sprint("out", task))
	if err := os.WriteFile(input, scene, 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := b.runner.Run(t.Context(), exec.Job{
		ID: t.Name(), Module: filepath.Join(b.dir, "render.wasm"),
		Inputs: map[string]string{jobs.SceneName: input}, Task: task, Tasks: tasks,
		MemoryPages: 64, Timeout: 5 * time.Minute, OutputLimit: 16 << 20, LogLimit: 1 << 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Unpack(t.Context(), b.store, result.Output, out); err != nil {
		t.Fatal(err)
	}
	tiles, err := jobs.ReadTiles(os.DirFS(out))
	if err != nil {
		t.Fatal(err)
	}
	return result, tiles
}

// picture renders a scene in tasks bands and puts them together. It shows each
// task's result to each.
func (b *bench) picture(t testing.TB, scene []byte, tasks uint32, each func(exec.Result)) *image.NRGBA {
	t.Helper()
	var tiles []jobs.Tile
	for task := range tasks {
		result, some := b.render(t, scene, task, tasks)
		if result.Exit != 0 || len(some) != 1 {
			t.Fatalf("task %d: exit %d, %d tiles, log:\n%s", task, result.Exit, len(some), result.Log)
		}
		each(result)
		tiles = append(tiles, some...)
	}
	picture, err := jobs.Assemble(tiles)
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// small returns the default scene as a picture of 64 by 48 pixels with one
// sample each.
func small(t testing.TB) []byte {
	t.Helper()
	scene := bytes.Replace(jobs.Scene, []byte("image  640 480  5 8"), []byte("image  64 48  1 8"), 1)
	if bytes.Equal(scene, jobs.Scene) {
		t.Fatal("the default scene has another image line")
	}
	return scene
}

// goldenPixels is the digest of the pixels of the small scene. It is the same on
// every machine; it changes with render.wasm and scene.txt only.
const goldenPixels = "742d43c5dde2b2350cd5a2274d17080c95fc18ebb4fad9ddfc007387b88dac7c"

// [JOB-24] The picture does not depend on the machine nor on the number of tasks
// it is split into.
func TestRenderIsTheSame(t *testing.T) {
	b := newBench(t)
	for _, tasks := range []uint32{1, 7} {
		picture := b.picture(t, small(t), tasks, func(exec.Result) {})
		if got := p2p.SumContent(picture.Pix).String(); got != goldenPixels {
			t.Errorf("%d tasks: pixels have the digest %s, want %s", tasks, got, goldenPixels)
		}
	}
}

// [JOB-25] A bad scene ends with the code 65 and a message with the file, the
// line, what is wrong and what would be right.
func TestRenderRefusesScenes(t *testing.T) {
	const good = "image 8 8 1 2\ncamera 0 1 5 0 1 0 1 0\n"
	b := newBench(t)
	for line, want := range map[string]string{
		"sphere 1 2 3":                             "3: found \"the end of the line\" where a number",
		"sphere 1 2 x 1 1 1 1 matte":               "3: found \"x\" where a number belongs",
		"sphere 1 2 3 1 1 1 1 wood":                "3: found \"wood\" where a material belongs",
		"sphere 1 2 3 1 1 1 1 glass 0.5":           "3: the index of glass is not from 1 to 4",
		"sphere 1 2 3 1 1 1 1 gloss 2":             "3: the roughness of a gloss is not from 0 to 1",
		"sphere 1 2 3 0 1 1 1 matte":               "3: the radius is not positive",
		"sphere 1 2 3 1 -1 1 1 matte":              "3: a color is negative",
		"sphere 1 2 3 1 1 1 1 matte 5":             "3: found \"5\" after all that belongs there",
		"sphere nan 2 3 1 1 1 1 matte":             "3: a number is not between",
		"light 1 2 3 1 1 1":                        "the line reads: light X Y Z RADIUS",
		"cube 1 2 3":                               "3: no line begins with \"cube\"; lines begin with image, camera",
		"image 0 8 1 2":                            "3: the width must be a whole number from 1 to 8192",
		"image 8 8.5 1 2":                          "3: the height must be a whole number",
		"camera 0 1 5 0 2 5 1 0":                   "3: the camera looks straight up",
		"floor 0 1 1 1 1 1 1 0 0":                  "3: the size of the floor's squares",
		"#" + strings.Repeat("x", 2000):            "3: the line has a zero byte or is very long",
		strings.Repeat("light 1 2 3 1 1 1 1\n", 9): "12: more than 8 lights",
	} {
		wantRefusal(t, b, good+"# fine\r\n"+line+"\n", strings.Replace(want, "3:", "4:", 1))
	}
	wantRefusal(t, b, "", "1: the file ends without a line that begins with \"image\"")
	wantRefusal(t, b, "image 8 8 1 2\n", "2: the file ends without a line that begins with \"camera\"")
	wantRefusal(t, b, string(jobs.Render[:500]), "1: the line has a zero byte")
	result, _ := b.render(t, []byte(good), 0, 9)
	if result.Exit != 65 || !strings.Contains(string(result.Log), "8 rows") {
		t.Errorf("nine tasks for eight rows: exit %d, log %q", result.Exit, result.Log)
	}
}

func wantRefusal(t *testing.T, b *bench, scene, want string) {
	t.Helper()
	result, tiles := b.render(t, []byte(scene), 0, 1)
	log := string(result.Log)
	if result.Exit != 65 || len(tiles) > 0 || !strings.Contains(log, "scene.txt:") || !strings.Contains(log, want) {
		t.Errorf("exit %d, log %q, want 65 and %q", result.Exit, log, want)
	}
}

func TestRenderWantsOneScene(t *testing.T) {
	b := newBench(t)
	job := exec.Job{
		ID: "none", Module: filepath.Join(b.dir, "render.wasm"), Tasks: 1, MemoryPages: 64, Timeout: time.Minute,
		OutputLimit: 1 << 20, LogLimit: 1 << 10,
	}
	for _, inputs := range []map[string]string{nil, {"a": "embed.go", "b": "embed.go"}} {
		job.Inputs = inputs
		result, err := b.runner.Run(t.Context(), job)
		want := fmt.Sprintf("/in holds %d files", len(inputs))
		if err != nil || result.Exit != 66 || !strings.Contains(string(result.Log), want) {
			t.Errorf("%d inputs: exit %d, %v, log %q", len(inputs), result.Exit, err, result.Log)
		}
	}
	job.Inputs = map[string]string{jobs.SceneName: "render/scene.txt"}
	job.OutputLimit, job.Task, job.Tasks = 1000, 470, 480 // one row has 1920 bytes
	result, err := b.runner.Run(t.Context(), job)
	if err != nil || result.Exit != 74 || !strings.Contains(string(result.Log), "takes no more") {
		t.Errorf("an output over its limit: exit %d, %v, log %q", result.Exit, err, result.Log)
	}
}

// BenchmarkRender renders the default scene as it is, all bands one after the
// other. With -artifacts it leaves the picture.
func BenchmarkRender(b *testing.B) {
	bench := newBench(b)
	for b.Loop() {
		var cpu time.Duration
		picture := bench.picture(b, jobs.Scene, 4, func(r exec.Result) { cpu += r.CPU })
		b.ReportMetric(cpu.Seconds(), "cpu-s/op")
		var buf bytes.Buffer
		if err := png.Encode(&buf, picture); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.ArtifactDir(), "scene.png"), buf.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
