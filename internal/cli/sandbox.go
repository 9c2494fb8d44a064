package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"coursepay/internal/sandbox"
)

// sandboxKeys is where a sandbox without given keys makes itself a set.
const sandboxKeys = ".coursepay/keys"

// sandboxFlag is one flag of the sandbox with its fallback: flag, else environment, else the default.
type sandboxFlag struct{ name, env, value, usage string }

var sandboxFlags = [...]sandboxFlag{
	{"addr", "SANDBOX_ADDR", ":8090", "address to listen on"},
	{"app-id", "ALIPAY_APP_ID", "9021000100000001", "the merchant's app_id"},
	{"seller-id", "ALIPAY_SELLER_ID", "2088721000000001", "the merchant's seller_id"},
	{"app-public-key-file", "SANDBOX_APP_PUBLIC_KEY_FILE", "", "the app's public key (default: made in " + sandboxKeys + ")"},
	{"private-key-file", "SANDBOX_PRIVATE_KEY_FILE", "", "the sandbox's own private key (default: made in " + sandboxKeys + ")"},
	{"public-url", "SANDBOX_URL", "", "address that others reach it at, printed at start (default: from --addr)"},
	{"notify-schedule", "SANDBOX_NOTIFY_SCHEDULE", "4m,10m,10m,1h,2h,6h,15h", "pauses between attempts of a notify; none: one attempt"},
	{"state-file", "SANDBOX_STATE_FILE", "", "keeps trades and notifies over a restart (default: memory only)"},
}

// sandboxSettings is the flags' values by name.
type sandboxSettings map[string]string

func newSandboxCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "sandbox",
		Short: "A fake Alipay: gateway, cashier for phones, signed notifies, faults on demand (never for production)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSandbox(cmd.Context(), readSandboxFlags(cmd), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	for _, f := range sandboxFlags {
		command.Flags().String(f.name, f.value, f.usage+" (environment: "+f.env+")")
	}
	command.AddCommand(newSandboxKeysCommand())
	return command
}

func newSandboxKeysCommand() *cobra.Command {
	var dir string
	var force bool
	command := &cobra.Command{
		Use:   "keys",
		Short: "Write a set of keys: the merchant app's pair and the sandbox's own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.GenerateKeys(dir, force); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "keys are in", dir)
			return err
		},
	}
	command.Flags().StringVar(&dir, "dir", sandboxKeys, "folder for the keys")
	command.Flags().BoolVar(&force, "force", false, "replace keys that are there")
	return command
}

func readSandboxFlags(cmd *cobra.Command) sandboxSettings {
	settings := sandboxSettings{}
	for _, f := range sandboxFlags {
		flag := cmd.Flags().Lookup(f.name)
		settings[f.name] = flag.Value.String()
		if value := os.Getenv(f.env); value != "" && !flag.Changed {
			settings[f.name] = value
		}
	}
	return settings
}

func runSandbox(ctx context.Context, settings sandboxSettings, out, logs io.Writer) error {
	if strings.EqualFold(os.Getenv("APP_ENV"), "production") {
		return errors.New("the sandbox is a simulator and does not start with APP_ENV=production")
	}
	config, err := settings.config()
	if err != nil {
		return err
	}
	config.Logger = slog.New(slog.NewTextHandler(logs, nil))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", settings["addr"])
	if err != nil {
		return fmt.Errorf("sandbox cannot listen (SANDBOX_ADDR or --addr): %w", err)
	}
	server, err := sandbox.New(config)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := settings.announce(out, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close(), server.Close())
	}
	return server.Serve(ctx, listener)
}

func (f sandboxSettings) config() (sandbox.Config, error) {
	schedule, scheduleErr := parseSchedule(f["notify-schedule"])
	if err := errors.Join(scheduleErr, f.ensureKeys()); err != nil {
		return sandbox.Config{}, err
	}
	appKey, appErr := os.ReadFile(f["app-public-key-file"])
	ownKey, ownErr := os.ReadFile(f["private-key-file"])
	return sandbox.Config{
		Apps:           []sandbox.App{{ID: f["app-id"], SellerID: f["seller-id"], PublicKey: string(appKey)}},
		PrivateKey:     string(ownKey),
		PublicURL:      f["public-url"],
		NotifySchedule: schedule,
		StateFile:      f["state-file"],
	}, errors.Join(appErr, ownErr)
}

// ensureKeys fills in the key files that are not given from a set of our own.
func (f sandboxSettings) ensureKeys() error {
	if f["app-public-key-file"] != "" && f["private-key-file"] != "" {
		return nil
	}
	if err := sandbox.GenerateKeys(sandboxKeys, false); err != nil {
		return err
	}
	f["app-public-key-file"] = cmp.Or(f["app-public-key-file"], filepath.Join(sandboxKeys, sandbox.AppPublicKeyFile))
	f["private-key-file"] = cmp.Or(f["private-key-file"], filepath.Join(sandboxKeys, sandbox.AlipayPrivateKeyFile))
	return nil
}

// parseSchedule reads "4m,10m,500ms"; "none" means no second attempt.
func parseSchedule(text string) ([]time.Duration, error) {
	schedule := []time.Duration{}
	if text == "none" {
		return schedule, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		pause, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || pause <= 0 {
			return nil, fmt.Errorf("notify schedule %q: want times like 4m,10m,500ms", text)
		}
		schedule = append(schedule, pause)
	}
	return schedule, nil
}

// announce prints where everything is.
func (f sandboxSettings) announce(out io.Writer, addr net.Addr) error {
	base := strings.TrimSuffix(f["public-url"], "/")
	if base == "" {
		base = "http://" + reachable(addr)
	}
	_, err := fmt.Fprintf(out, `sandbox: a simulator, not Alipay; no real money moves
  gateway    %[1]s/gateway.do
  trades     %[1]s/
  control    %[1]s/control/trades
  app        %[2]s, seller %[3]s
  app key    %[4]s
  own key    %[5]s
`, base, f["app-id"], f["seller-id"], f["app-public-key-file"], f["private-key-file"])
	return err
}

// reachable names localhost when the sandbox listens on every address.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}
