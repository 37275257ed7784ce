package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pinfi/pinfi/p2p"
)

// layNetwork makes the folders of a network on this machine: its providers, then
// its client, each with the genesis and an identity. It returns the folders.
func layNetwork(folder string, rules localRules, providers int) ([]string, error) {
	var dirs []string
	var ids []*p2p.Identity
	for i := range providers + 1 {
		name := clientName
		if i < providers {
			name = providerName(i)
		}
		dir := filepath.Join(folder, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("network folder: %w", err)
		}
		id, err := readIdentity(filepath.Join(dir, identityName))
		if err != nil {
			return nil, err
		}
		dirs, ids = append(dirs, dir), append(ids, id)
	}
	g := localGenesis(rules, ids[:providers], ids[providers].PeerID())
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("genesis of %s: %w", rules.name, err)
	}
	for _, dir := range dirs {
		if err := writeGenesis(filepath.Join(dir, genesisName), g); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}
