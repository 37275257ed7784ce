package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/node/api"
)

// devnetRules make a storm every 15 seconds: the network is there to stay, and
// what proofs say stays on the ledger.
func devnetRules() localRules {
	return localRules{name: "devnet", slot: 500 * time.Millisecond, epoch: 10 * time.Second, stormPer: 30}
}

// devnetProviders is how many providers a devnet has for which no other number is
// named.
const devnetProviders = 4

// devnetDir returns the folder of the network that stays on this machine.
func devnetDir(env environment) string { return filepath.Join(dataDir(env), "devnet") }

func devnetCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "devnet", Short: "Keep a whole network on this machine, process by process"}
	var dir string
	var providers int
	var asJSON, purge bool
	up := &cobra.Command{
		Use: "up", Short: "Start the network; pinfi run --data FOLDER/client uses it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("providers") {
				providers = 0 // as many as there are
			} else if providers < 1 || providers > 16 {
				return exit(exitUsage, fmt.Errorf("--providers %d: want 1 to 16", providers))
			}
			return devnetUp(cmd.Context(), env, dir, providers, asJSON)
		},
	}
	up.Flags().IntVar(&providers, "providers", devnetProviders, "number of providers, 1 to 16, when the network is made")
	up.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	down := &cobra.Command{
		Use: "down", Short: "Stop the network; it goes on with the same books at the next up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return devnetDown(cmd.Context(), env, dir, purge) },
	}
	down.Flags().BoolVar(&purge, "purge", false, "remove its folders, money included")
	for _, sub := range []*cobra.Command{up, down} {
		sub.Flags().StringVar(&dir, "dir", devnetDir(env), "folder of the network")
	}
	cmd.AddCommand(up, down)
	return cmd
}

// devnetUp starts those nodes of a network that do not run, and makes the network
// the first time. Providers 0 is as many as there are, or four.
func devnetUp(ctx context.Context, env environment, dir string, providers int, asJSON bool) error {
	dirs, err := devnetDirs(dir)
	if err != nil {
		return err
	}
	switch {
	case len(dirs) == 0 && providers == 0:
		providers = devnetProviders
	case len(dirs) > 0 && providers != 0 && providers != len(dirs)-1:
		return exit(exitUsage, fmt.Errorf("--providers %d: the network in %s has %d; name another folder with --dir, or "+
			"remove it with pinfi devnet down --purge", providers, dir, len(dirs)-1))
	}
	if len(dirs) == 0 {
		if dirs, err = layNetwork(dir, devnetRules(), providers); err != nil {
			return err
		}
	}
	if err := devnetStart(ctx, env, dirs); err != nil {
		return exit(exitUnavailable, err)
	}
	client := dirs[len(dirs)-1]
	if asJSON {
		return json.NewEncoder(env.stdout).Encode(map[string]any{"dir": dir, "client": client, "nodes": len(dirs)})
	}
	fmt.Fprintf(env.stdout, "the network runs in %s\n", dir)
	fmt.Fprintf(env.stdout, "  pinfi run --data %s --wasm FILE --in FILE --out DIR\n", client)
	fmt.Fprintf(env.stdout, "  pinfi status --data %s\n", client)
	fmt.Fprintf(env.stdout, "  pinfi devnet down --dir %s\n", dir)
	return nil
}

// devnetStart starts the nodes whose folders are given, but those that run. When
// one cannot be started it stops those that it has.
func devnetStart(ctx context.Context, env environment, dirs []string) (err error) {
	l := &launcher{env: env, detach: true}
	var started []*member
	defer func() {
		for _, m := range started {
			m.client.Close()
			if err != nil {
				err = errors.Join(err, m.end())
			}
		}
	}()
	up := make([]bool, len(dirs))
	for i, d := range dirs {
		if c, err := runningNode(ctx, d); err == nil {
			c.Close()
			up[i] = true
			l.learn(d)
		}
	}
	for i, d := range dirs {
		if up[i] {
			fmt.Fprintf(env.stderr, "%s is up already\n", filepath.Base(d))
			continue
		}
		sell := newSell()
		if i == len(dirs)-1 {
			sell = nil
		}
		m, err := l.start(ctx, filepath.Base(d), d, sell)
		if err != nil {
			return err
		}
		started = append(started, m)
		fmt.Fprintf(env.stderr, "%s is up\n", m.name)
	}
	return nil
}

// devnetDirs returns the folders of a network that was made before: its providers,
// then its client. There are none when it was not.
func devnetDirs(dir string) ([]string, error) {
	var dirs []string
	for i := 0; ; i++ {
		d := filepath.Join(dir, providerName(i))
		if _, err := os.Stat(d); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("network folder: %w", err)
		}
		dirs = append(dirs, d)
	}
	if len(dirs) > 0 {
		dirs = append(dirs, filepath.Join(dir, clientName))
	}
	return dirs, nil
}

// stopTimeout is how long a node may take to stop.
const stopTimeout = 20 * time.Second

// devnetDown asks every node to stop and waits until it has.
func devnetDown(ctx context.Context, env environment, dir string, purge bool) error {
	dirs, err := devnetDirs(dir)
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return exit(exitNoInput, fmt.Errorf("no network in %s; pinfi devnet up makes one", dir))
	}
	var errs []error
	for _, d := range dirs {
		errs = append(errs, stopNode(ctx, d))
	}
	if err := errors.Join(errs...); err != nil {
		return exit(exitUnavailable, err)
	}
	fmt.Fprintf(env.stderr, "%d nodes are down\n", len(dirs))
	if purge {
		return purgeNetwork(dir, dirs)
	}
	return nil
}

// purgeNetwork removes the nodes' folders, and the network's own when nothing else
// is in it: the user may have named a folder that holds more.
func purgeNetwork(dir string, nodes []string) error {
	var errs []error
	for _, d := range nodes {
		errs = append(errs, os.RemoveAll(d))
	}
	left, err := os.ReadDir(dir)
	if err == nil && len(left) == 0 {
		err = os.Remove(dir)
	}
	return errors.Join(append(errs, err)...)
}

// stopNode stops the node that runs in a folder, if one does.
func stopNode(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	c, err := dialNode(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Stop(ctx)
	if errors.Is(err, api.ErrNoNode) {
		return nil // nothing runs there, which is what was asked for
	}
	if err != nil {
		return fmt.Errorf("stop the node in %s: %w", dir, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Status(ctx); errors.Is(err, api.ErrNoNode) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node in %s does not stop: %w", dir, ctx.Err())
		case <-tick.C:
		}
	}
}
