package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"coursepay/internal/devstack"
)

const stackDir = ".coursepay"

// stackFlags are what the stack's commands have in common.
type stackFlags struct {
	dir          string
	servicesOnly bool
	test         bool
	json         bool
	engine       string
	engineSet    []string
}

// newStackCommands are the commands that run the private stack.
func newStackCommands() []*cobra.Command {
	return []*cobra.Command{newUpCommand(), newDownCommand(), newDevCommand(), newStatusCommand(), newStackCommand()}
}

func newUpCommand() *cobra.Command {
	var flags stackFlags
	command := &cobra.Command{
		Use:   "up",
		Short: "Start the private stack in the background and return when it is ready",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return up(cmd, flags) },
	}
	flags.register(command)
	flags.registerEngine(command)
	command.Flags().BoolVar(&flags.servicesOnly, "services-only", false, "only Postgres, RabbitMQ and Temporal")
	command.Flags().BoolVar(&flags.test, "test", false, "the services that the tests share, instead")
	command.Flags().BoolVar(&flags.json, "json", false, "print the result as JSON")
	return command
}

func (f *stackFlags) register(command *cobra.Command) {
	command.Flags().StringVar(&f.dir, "dir", stackDir, "the stack's folder")
}

func (f *stackFlags) registerEngine(command *cobra.Command) {
	command.Flags().StringVar(&f.engine, "engine", devstack.EngineDev, "the Temporal server: dev, or postgres for the plain "+
		"server over the stack's Postgres, as docker-compose.yml has it (building it takes minutes, once)")
	command.Flags().StringSliceVar(&f.engineSet, "engine-set", nil, "tune that server with these settings instead of those "+
		"in deploy/compose/temporal: variables (GOGC=400) and keys of its dynamic configuration; none for a stock server")
}

// engineSettings reads --engine-set; nil when it was not given.
func (f *stackFlags) engineSettings() (map[string]string, error) {
	if len(f.engineSet) == 0 {
		return nil, nil
	}
	settings := map[string]string{}
	for _, text := range f.engineSet {
		name, value, found := strings.Cut(text, "=")
		if !found && text != "none" {
			return nil, fmt.Errorf("--engine-set %s: want NAME=VALUE, or none", text)
		}
		if found {
			settings[name] = value
		}
	}
	return settings, nil
}

func up(cmd *cobra.Command, flags stackFlags) error {
	progress := cmd.OutOrStdout()
	if flags.json {
		progress = cmd.ErrOrStderr()
	}
	if flags.test {
		_, err := devstack.UpShared(cmd.Context(), progress)
		return err
	}
	stack, err := startStack(cmd.Context(), flags, progress, false)
	if err != nil {
		return err
	}
	return report(cmd.OutOrStdout(), stack, flags.json)
}

func startStack(ctx context.Context, flags stackFlags, progress io.Writer, leashed bool) (*devstack.Stack, error) {
	options, err := devstack.OptionsFromEnvironment(flags.dir)
	if err != nil {
		return nil, err
	}
	if options.EngineSettings, err = flags.engineSettings(); err != nil {
		return nil, err
	}
	options.Engine = flags.engine
	options.Progress, options.ServicesOnly, options.Leashed = progress, flags.servicesOnly, leashed
	return devstack.Up(ctx, options)
}

func newDownCommand() *cobra.Command {
	var flags stackFlags
	command := &cobra.Command{
		Use:   "down",
		Short: "Stop the private stack; its data stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.test {
				return devstack.DownShared(cmd.Context())
			}
			return devstack.Down(cmd.Context(), flags.dir)
		},
	}
	flags.register(command)
	command.Flags().BoolVar(&flags.test, "test", false, "the services that the tests share, instead, with their data")
	return command
}

func newDevCommand() *cobra.Command {
	var flags stackFlags
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run the private stack in the foreground; Ctrl-C stops all of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return dev(cmd, flags) },
	}
	flags.register(command)
	flags.registerEngine(command)
	return command
}

func dev(cmd *cobra.Command, flags stackFlags) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // a closed terminal stops it too
	defer stop()
	out := cmd.OutOrStdout()
	defer func() {
		_, _ = fmt.Fprintln(out, "stopping …")
		err = errors.Join(err, devstack.Down(context.WithoutCancel(ctx), flags.dir))
	}()
	stack, err := startStack(ctx, flags, out, true)
	if err != nil {
		if ctx.Err() != nil { // somebody changed his mind while it started
			return nil
		}
		return err
	}
	if err := report(out, stack, false); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out, "Ctrl-C stops everything")
	return stack.Follow(ctx, out)
}

func newStatusCommand() *cobra.Command {
	var flags stackFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "Show which parts of the private stack run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stack, err := devstack.Open(cmd.Context(), flags.dir)
			if err != nil {
				return err
			}
			return report(cmd.OutOrStdout(), stack, flags.json)
		},
	}
	flags.register(command)
	command.Flags().BoolVar(&flags.json, "json", false, "print it as JSON")
	return command
}

func newStackCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "stack",
		Short: "Operate one part of the private stack, and the pinned tools",
	}
	actions := []struct {
		name, short string
		act         func(context.Context, *devstack.Service) error
	}{
		{"start", "Start one service", func(ctx context.Context, s *devstack.Service) error { return s.Start(ctx) }},
		{"stop", "Stop one service cleanly", func(ctx context.Context, s *devstack.Service) error { return s.Stop(ctx) }},
		{"restart", "Stop one service cleanly and start it again", func(ctx context.Context, s *devstack.Service) error { return s.Restart(ctx) }},
		{"kill", "Kill one service, as a crash would", func(_ context.Context, s *devstack.Service) error { return s.Kill() }},
	}
	for _, action := range actions {
		var flags stackFlags
		sub := &cobra.Command{
			Use:   action.name + " <service>",
			Short: action.short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return onService(cmd.Context(), flags.dir, args[0], action.act)
			},
		}
		flags.register(sub)
		command.AddCommand(sub)
	}
	command.AddCommand(newToolCommand())
	return command
}

func onService(ctx context.Context, dir, name string, act func(context.Context, *devstack.Service) error) error {
	stack, err := devstack.Open(ctx, dir)
	if err != nil {
		return err
	}
	service := stack.Service(name)
	if service == nil {
		return fmt.Errorf("there is no service %q in this stack; it has %v", name, names(stack))
	}
	return act(ctx, service)
}

func names(stack *devstack.Stack) []string {
	var list []string
	for _, service := range stack.Services() {
		list = append(list, service.Name())
	}
	return list
}

func newToolCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tool <name>",
		Short: "Build a pinned tool unless it is built already, and print where it is",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			tool, known := devstack.ToolByName(args[0])
			if !known {
				return fmt.Errorf("there is no tool %q", args[0])
			}
			path, err := devstack.EnsureTool(cmd.Context(), tool, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
}

// stackReport is the stack as up and status show it.
type stackReport struct {
	EnvFile  string            `json:"envFile"`
	URLs     map[string]string `json:"urls"`
	Services []serviceReport   `json:"services"`
}

type serviceReport struct {
	Name string `json:"name"`
	// State is running, stopped, or given: run by somebody else.
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"`
}

func report(out io.Writer, stack *devstack.Stack, asJSON bool) error {
	env, err := stack.Env()
	if err != nil {
		return err
	}
	result := stackReport{EnvFile: stack.EnvFile(), URLs: map[string]string{}}
	for _, name := range urlNames {
		if env[name] != "" {
			result.URLs[name] = env[name]
		}
	}
	for _, service := range stack.Services() {
		result.Services = append(result.Services, describe(service))
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	return result.print(out)
}

// urlNames are the addresses worth showing, in this order.
var urlNames = []string{"API_URL", "SANDBOX_URL", "TEMPORAL_UI_URL"}

var urlLabels = map[string]string{
	"API_URL": "API", "SANDBOX_URL": "sandbox (fake Alipay)", "TEMPORAL_UI_URL": "Temporal Web UI",
}

func describe(service *devstack.Service) serviceReport {
	described := serviceReport{Name: service.Name(), State: "stopped", PID: service.PID()}
	switch {
	case service.Given():
		described.State = "given"
	case described.PID != 0:
		described.State = "running"
	}
	return described
}

func (r stackReport) print(out io.Writer) error {
	var faults []error
	for _, service := range r.Services {
		_, err := fmt.Fprintf(out, "  %-10s %-8s %s\n", service.Name, service.State, pidText(service.PID))
		faults = append(faults, err)
	}
	for _, name := range urlNames {
		if url := r.URLs[name]; url != "" {
			_, err := fmt.Fprintf(out, "  %-22s %s\n", urlLabels[name], url)
			faults = append(faults, err)
		}
	}
	_, err := fmt.Fprintf(out, "  %-22s %s\n", "all variables", r.EnvFile)
	return errors.Join(append(faults, err)...)
}

func pidText(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprint("pid ", pid)
}
