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
	"slices"
	"strconv"
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
	{"app-cert-file", "SANDBOX_APP_CERT_FILE", "", "the app's certificate: puts it in certificate mode"},
	{"buyer-open-id", "SANDBOX_BUYER_OPEN_ID", "false", "true: the app knows buyers by buyer_open_id"},
	{"apps-file", "SANDBOX_APPS_FILE", "", "several apps in a JSON file, instead of the one that the flags above describe"},
	{"private-key-file", "SANDBOX_PRIVATE_KEY_FILE", "", "the sandbox's own private key (default: made in " + sandboxKeys + ")"},
	{"alipay-cert-file", "SANDBOX_ALIPAY_CERT_FILE", "", "the sandbox's own certificate (default: beside its private key)"},
	{"alipay-root-cert-file", "SANDBOX_ALIPAY_ROOT_CERT_FILE", "", "who issued it (default: beside the private key)"},
	{"public-url", "SANDBOX_URL", "", "address that others reach it at, printed at start (default: from --addr)"},
	{"notify-schedule", "SANDBOX_NOTIFY_SCHEDULE", "4m,10m,10m,1h,2h,6h,15h", "pauses between attempts of a notify; none: one attempt"},
	{"notify-close", "SANDBOX_NOTIFY_CLOSE", "false", "true: a closing without a refund is told too"},
	{"refund-pause", "SANDBOX_REFUND_PAUSE", sandbox.DefaultRefundPause.String(), "least time between refunds of one trade; 0: none"},
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
		Short: "Write a set of keys and certificates: the merchant app's and the sandbox's own",
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
	pause, pauseErr := time.ParseDuration(f["refund-pause"])
	if pauseErr != nil || pause < 0 {
		pauseErr = fmt.Errorf("refund pause %q: want a time like 3s, or 0", f["refund-pause"])
	}
	notifyClose, closeErr := f.yes("notify-close")
	if err := errors.Join(scheduleErr, pauseErr, closeErr, f.ensureKeys()); err != nil {
		return sandbox.Config{}, err
	}
	apps, appsErr := f.apps()
	config := sandbox.Config{
		Apps: apps, PublicURL: f["public-url"], NotifySchedule: schedule, NotifyClose: notifyClose, RefundPause: pause,
		StateFile: f["state-file"],
	}
	ownKey, keyErr := os.ReadFile(f["private-key-file"])
	config.PrivateKey = string(ownKey)
	return config, errors.Join(appsErr, keyErr, f.readCerts(&config))
}

// yes reads a flag that is true or false.
func (f sandboxSettings) yes(name string) (bool, error) {
	value, err := strconv.ParseBool(f[name])
	if err != nil {
		return false, fmt.Errorf("%s %q: want true or false", name, f[name])
	}
	return value, nil
}

// apps is what the apps file lists, or else the one app that the flags describe.
func (f sandboxSettings) apps() ([]sandbox.App, error) {
	if path := f["apps-file"]; path != "" {
		return sandbox.ReadApps(path)
	}
	openID, boolErr := f.yes("buyer-open-id")
	app := sandbox.App{ID: f["app-id"], SellerID: f["seller-id"], BuyerOpenID: openID}
	into, path := &app.PublicKey, f["app-public-key-file"]
	if f["app-cert-file"] != "" {
		into, path = &app.AppCert, f["app-cert-file"]
	}
	text, err := os.ReadFile(path)
	*into = string(text)
	return []sandbox.App{app}, errors.Join(boolErr, err)
}

// readCerts reads the sandbox's own certificates when an app is in certificate mode; nobody else needs them.
func (f sandboxSettings) readCerts(config *sandbox.Config) error {
	if !slices.ContainsFunc(config.Apps, func(a sandbox.App) bool { return a.AppCert != "" }) {
		return nil
	}
	beside := filepath.Dir(f["private-key-file"])
	cert, certErr := os.ReadFile(cmp.Or(f["alipay-cert-file"], filepath.Join(beside, sandbox.AlipayCertFile)))
	root, rootErr := os.ReadFile(cmp.Or(f["alipay-root-cert-file"], filepath.Join(beside, sandbox.AlipayRootCertFile)))
	config.AlipayCert, config.AlipayRootCert = string(cert), string(root)
	return errors.Join(certErr, rootErr)
}

// ensureKeys fills in the key files that are not given from a set of our own.
func (f sandboxSettings) ensureKeys() error {
	if f["app-public-key-file"]+f["app-cert-file"]+f["apps-file"] != "" && f["private-key-file"] != "" {
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
%[2]s  own key    %[3]s
`, base, f.announceApps(), f["private-key-file"])
	return err
}

func (f sandboxSettings) announceApps() string {
	if f["apps-file"] != "" {
		return "  apps       " + f["apps-file"] + "\n"
	}
	return fmt.Sprintf("  app        %s, seller %s\n  app key    %s\n",
		f["app-id"], f["seller-id"], cmp.Or(f["app-cert-file"], f["app-public-key-file"]))
}

// reachable names localhost when the sandbox listens on every address.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}
