package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/lp2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// The files of a node's data folder. docs/spec/cli.md lists them.
const (
	genesisName  = "genesis.toml"
	identityName = "identity.key"
	socketName   = "api.sock"
	addrsName    = "addrs" // where others reach the node, one multiaddr a line
)

// hostOptions say what node to run. Flags fill them.
type hostOptions struct {
	dir     string
	genesis string // default: dir/genesis.toml
	listen  []string
	peers   []string
	mdns    bool
	psk     string // file with 64 hexadecimal digits
	verbose bool
	sell    *machine.Sell
	hub     *transport.Hub // instead of libp2p; for networks in one process
}

// bind defines the flags that every command that runs a node has.
func (o *hostOptions) bind(cmd *cobra.Command, env environment) {
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "data", dataDir(env), "folder of the node")
	flags.StringVar(&o.genesis, "genesis", "", "genesis file of the network (default: genesis.toml in the data folder)")
	flags.StringSliceVar(&o.listen, "listen", nil,
		"multiaddrs to listen on (default: port 4747 of TCP and UDP); port 0 takes a free one")
	flags.StringSliceVar(&o.peers, "peer", nil, "multiaddrs of first peers, with /p2p/ and their id")
	flags.BoolVar(&o.mdns, "mdns", true, "find peers on the local network")
	flags.StringVar(&o.psk, "network-key", "", "file with the key of a private network: 64 hexadecimal digits")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say more")
}

// dataDir returns the folder of a node for which no other was named.
func dataDir(env environment) string {
	if dir := env.getenv("PINFI_DATA"); dir != "" {
		return dir
	}
	if dir := env.getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "pinfi")
	}
	return filepath.Join(env.getenv("HOME"), ".local", "share", "pinfi")
}

// A host is a running node with its API.
type host struct {
	node   *node.Node
	server *api.Server
	addrs  []string
	notes  *api.Hub
}

// openHost opens the node's folder, joins its network and opens its API.
func openHost(ctx context.Context, o hostOptions, log *slog.Logger, stop func()) (*host, error) {
	if err := api.CheckSocket(filepath.Join(o.dir, socketName)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if o.genesis == "" {
		o.genesis = filepath.Join(o.dir, genesisName)
	}
	g, err := readGenesis(o.genesis)
	if err != nil {
		return nil, err
	}
	if err := checkSell(o.sell, g); err != nil {
		return nil, err
	}
	id, err := readIdentity(filepath.Join(o.dir, identityName))
	if err != nil {
		return nil, err
	}
	psk, err := readKey(o.psk)
	if err != nil {
		return nil, err
	}
	h := &host{notes: api.NewHub()}
	h.node, err = node.New(node.Config{
		Genesis: g, Identity: id, Dir: o.dir, Sell: o.sell, Log: log, OnNote: h.notes.Add,
		Timing: localTiming(g),
		Child:  child(),
		Join: func(handler transport.Handler) (node.Network, error) {
			if o.hub != nil {
				return o.hub.Join(id.PeerID(), handler)
			}
			lp2p.RouteLogs(log)
			net, err := lp2p.New(ctx, lp2p.Config{
				Identity: id, Network: g.Network(), Listen: o.listen, Peers: o.peers, MDNS: o.mdns, PSK: psk,
				Handler: handler, Log: log,
			})
			if err != nil {
				return nil, err
			}
			h.addrs = net.Addrs()
			return net, nil
		},
	})
	if err != nil {
		return nil, err
	}
	if err := h.announce(o, log, stop); err != nil {
		return nil, errors.Join(err, h.node.Close())
	}
	return h, nil
}

// checkSell refuses to sell what the network does not trade. Nil sells nothing.
func checkSell(s *machine.Sell, g *machine.Genesis) error {
	if s == nil {
		return nil
	}
	if _, ok := g.Market.ClassIndex(s.Class); !ok {
		return exit(exitUsage, fmt.Errorf("--class %q is not traded on network %s; these are: %v",
			s.Class, g.Ledger.Name, g.Market.ClassNames()))
	}
	if s.Units == 0 {
		return exit(exitUsage, errors.New("--units 0: want at least 1 mCU"))
	}
	return nil
}

// announce opens the API and writes down where the node is to be found.
func (h *host) announce(o hostOptions, log *slog.Logger, stop func()) error {
	token, err := api.OpenToken(o.dir)
	if err != nil {
		return err
	}
	h.server, err = api.Listen(context.Background(), api.Config{
		Socket: filepath.Join(o.dir, socketName), Token: token,
		Node: h.node, Files: h.node.Blobs(), Manifest: h.manifest, Hub: h.notes, Stop: stop,
		Sell: o.sell, Region: node.Region, Version: version(), Log: log,
		Counts: h.counts,
		Addrs:  func() []string { return h.addrs },
		Peers:  h.peers,
	})
	if err != nil {
		return err
	}
	lines := strings.Join(h.addrs, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(o.dir, addrsName), []byte(lines), 0o600); err != nil {
		return errors.Join(fmt.Errorf("data folder: %w", err), h.server.Close())
	}
	return nil
}

// manifest tells the API which files an output has.
func (h *host) manifest(ctx context.Context, d p2p.Digest) ([]api.File, error) {
	m, err := blob.ReadManifest(ctx, h.node.Blobs(), d)
	if err != nil {
		return nil, err
	}
	files := make([]api.File, len(m.Files))
	for i, f := range m.Files {
		files[i] = api.File(f)
	}
	return files, nil
}

// counts tells the API what the node has done, and what its transport has refused
// before the node saw it.
func (h *host) counts() api.Counts {
	c := api.Counts(h.node.Counts())
	if net, ok := h.node.Net().(*lp2p.Host); ok {
		c.Refused += net.Stats().Refused
	}
	return c
}

// peers tells the API who is connected, where the transport knows.
func (h *host) peers() []api.Peer {
	net, ok := h.node.Net().(*lp2p.Host)
	if !ok {
		return nil
	}
	var out []api.Peer
	for _, p := range net.Peers() {
		out = append(out, api.Peer{ID: p.ID, Addrs: p.Addrs, RTTMicros: p.RTT.Microseconds()})
	}
	return out
}

// run hosts the node and its API until ctx is done or one of them cannot go on,
// then takes everything down. The API goes last: who sees it gone finds the folder
// closed.
func (h *host) run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer stop()
		return h.node.Run(ctx)
	})
	work.Go(func() error { return h.server.Run(serving) })
	return work.Wait()
}

// readKey reads the key of a private network. No path is no key.
func readKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("network key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != 32 {
		return nil, exit(exitData, fmt.Errorf("network key %s: want 64 hexadecimal digits", path))
	}
	return key, nil
}

// provideCommand runs a full node.
func provideCommand(env environment) *cobra.Command {
	o := hostOptions{}
	sell := machine.Sell{Region: node.Region}
	var class string
	var reserve uint64
	cmd := &cobra.Command{
		Use:   "provide",
		Short: "Sell this machine's computing power (full node)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sell.Class, sell.Reserve = ledger.Class(class), ledger.Amount(reserve)
			o.sell = &sell
			return serve(cmd.Context(), env, o)
		},
	}
	o.bind(cmd, env)
	cmd.Flags().StringVar(&class, "class", localClass, "class of device to sell")
	cmd.Flags().Uint64Var(&sell.Units, "units", localUnits, "capacity to sell, in mCU (1000 mCU = 1 reference device)")
	cmd.Flags().Uint64Var(&reserve, "reserve", 0, "least price, in atoms per CU-hour; 0 follows the pool")
	return cmd
}

// lightCommand runs a light node that stays.
func lightCommand(env environment) *cobra.Command {
	o := hostOptions{}
	cmd := &cobra.Command{
		Use:   "light",
		Short: "Keep a light node running, which pinfi run then uses",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), env, o) },
	}
	o.bind(cmd, env)
	return cmd
}

// serve runs a node in the foreground until it is interrupted or told to stop.
func serve(ctx context.Context, env environment, o hostOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h, err := openHost(ctx, o, logger(env, slog.LevelInfo, o.verbose), stop)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stderr, "node %s is up on network %s\n", h.node.Self().Short(), h.node.Genesis().Network())
	for _, a := range h.addrs {
		fmt.Fprintf(env.stderr, "  %s\n", a)
	}
	return h.run(ctx)
}

// logger returns a logger of words on standard error: those of the level, or all.
func logger(env environment, level slog.Level, verbose bool) *slog.Logger {
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: level}))
}

// child returns the command that runs one job: this very program.
func child() []string {
	path, err := os.Executable()
	if err != nil {
		return nil // exec finds it, or says why not
	}
	return []string{path, childCommand}
}

// localTiming shortens the refresh of offers where slots are short: networks of
// one machine live in seconds.
func localTiming(g *machine.Genesis) machine.Timing {
	t := machine.Timing{}
	if slot := g.SlotStart(1).Sub(g.SlotStart(0)); slot*5 < 15e9 {
		t.Offer = slot * 5
	}
	return t
}
