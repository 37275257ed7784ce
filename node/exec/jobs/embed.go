// Package jobs holds the example job that pinfi ships: a path tracer that renders
// a picture in as many tasks as one likes, the scene it renders by default, and
// what puts the bands of the tasks together.
//
// It runs nothing: hand Render and Scene to a job, ReadTiles its outputs, and
// Assemble and WritePNG the tiles. The invariant: Assemble returns a picture only
// when every pixel of it came from exactly one tile.
package jobs

import (
	_ "embed"
)

// Render is the WebAssembly module of render/render.c. It renders band PINFI_TASK of
// PINFI_TASKS of the one scene in /in.
//
//go:embed render/render.wasm
var Render []byte

// Scene is the default scene, 640 by 480 pixels. README.md explains the format.
//
//go:embed render/scene.txt
var Scene []byte

// SceneName is the name of the default scene in /in.
const SceneName = "scene.txt"
