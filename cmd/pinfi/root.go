package main

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// rootCommand returns the whole command line.
func rootCommand(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "pinfi",
		Short:         "A peer-to-peer market for computing power",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit(exitUsage, fmt.Errorf("%w; %s --help lists what there is", err, cmd.CommandPath()))
	})
	root.AddCommand(demoCommand(env), provideCommand(env), lightCommand(env), runCommand(env), statusCommand(env),
		devnetCommand(env), curveCommand(env), ledgerCommand(env), walletCommand(env))
	for _, cmd := range root.Commands() {
		asUsageErrors(cmd)
	}
	return root
}

// noSuchCommand refuses a command that does not exist.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return exit(exitUsage, fmt.Errorf("unknown command %q; %s --help lists what there is", args[0], cmd.CommandPath()))
}

// asUsageErrors gives the errors by which cobra refuses a command line the exit
// code of one.
func asUsageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return exit(exitUsage, check(cmd, args)) }
	}
	if cmd.HasSubCommands() {
		cmd.Args = noSuchCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			return exit(exitUsage, errors.New(cmd.CommandPath()+" what? "+cmd.CommandPath()+" --help lists what there is"))
		}
	}
	pre := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := cmd.ValidateRequiredFlags(); err != nil {
			return exit(exitUsage, err)
		}
		if pre != nil {
			return pre(cmd, args)
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		asUsageErrors(sub)
	}
}

// version returns the version that the program was built as.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
