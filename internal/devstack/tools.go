package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// Tool is a program that is built from a pinned module of its own below deploy/tools.
type Tool struct {
	Name    string // of the binary
	Module  string // folder below deploy/tools
	Package string
	Version string
	LDFlags string
}

// The tools. Their versions are those in their modules' go.mod (a test holds the two together).
var (
	TemporalCLI = Tool{
		Name: "temporal", Module: "temporal", Package: "github.com/temporalio/cli/cmd/temporal", Version: "1.5.1",
		LDFlags: "-X github.com/temporalio/cli/temporalcli.Version=1.5.1",
	}
	TemporalServer = Tool{
		Name: "temporal-server", Module: "server", Package: "go.temporal.io/server/cmd/server", Version: "1.31.2",
	}
	TemporalSQLTool = Tool{
		Name: "temporal-sql-tool", Module: "server", Package: "go.temporal.io/server/cmd/tools/sql", Version: "1.31.2",
	}
	Tctl         = Tool{Name: "tctl", Module: "tctl", Package: "github.com/temporalio/tctl/cmd/tctl", Version: "1.18.0"}
	GolangciLint = Tool{
		Name: "golangci-lint", Module: "lint", Package: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", Version: "2.15.0",
	}
	WorkflowCheck = Tool{
		Name: "workflowcheck", Module: "lint", Package: "go.temporal.io/sdk/contrib/tools/workflowcheck", Version: "0.6.0",
	}
)

// ToolByName finds a tool by its binary's name.
func ToolByName(name string) (Tool, bool) {
	for _, tool := range []Tool{TemporalCLI, TemporalServer, TemporalSQLTool, Tctl, GolangciLint, WorkflowCheck} {
		if tool.Name == name {
			return tool, true
		}
	}
	return Tool{}, false
}

// ModuleRoot is the checkout that the working directory belongs to.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module coursepay\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside a checkout of coursepay")
		}
		dir = filepath.Dir(dir)
	}
}

// ensureTool returns the tool's binary, which it builds when it is not there yet. Concurrent calls build once.
func (b *builder) ensureTool(ctx context.Context, tool Tool) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", fmt.Errorf("%s is not on the PATH and cannot be built: %w", tool.Name, err)
	}
	binary := filepath.Join(root, ".coursepay", "bin", tool.Name+"-"+tool.Version)
	if isProgram(binary) {
		return binary, nil
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", err
	}
	unlock, err := locked(ctx, filepath.Join(filepath.Dir(binary), "."+tool.Name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if isProgram(binary) { // somebody else built it while we waited
		return binary, nil
	}
	what := fmt.Sprintf("building %s %s (once; a few minutes)", tool.Name, tool.Version)
	return binary, b.progress.during(ctx, what, func(ctx context.Context) error {
		return b.build(ctx, root, tool, binary)
	})
}

func (b *builder) build(ctx context.Context, root string, tool Tool, binary string) error {
	half := binary + ".half"
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(root, "deploy", "tools", tool.Module),
		"-trimpath", "-ldflags", strings.TrimSpace("-s -w "+tool.LDFlags), "-o", half, tool.Package)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	if err := b.logged(ctx, "build-"+tool.Name, cmd); err != nil {
		return err
	}
	return os.Rename(half, binary)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o100 != 0
}

// ensureTemporal takes a temporal on the PATH whose development server is new enough, else the pinned one.
func (b *builder) ensureTemporal(ctx context.Context) (string, error) {
	if onPath, err := exec.LookPath(TemporalCLI.Name); err == nil {
		out, err := exec.CommandContext(ctx, onPath, "--version").Output()
		if err == nil && suitableServer(string(out)) {
			return filepath.Abs(onPath)
		}
	}
	return b.ensureTool(ctx, TemporalCLI)
}

var serverVersion = regexp.MustCompile(`Server (\d+)\.(\d+)`)

// suitableServer reads "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)". Update-with-start and what else we use
// have been tried with server 1.29.
func suitableServer(version string) bool {
	found := serverVersion.FindStringSubmatch(version)
	if found == nil {
		return false
	}
	major, majorErr := strconv.Atoi(found[1])
	minor, minorErr := strconv.Atoi(found[2])
	return majorErr == nil && minorErr == nil && major == 1 && minor >= 29
}

// locked takes a lock that other processes respect, and returns what gives it back. The kernel gives it back when we die.
func locked(ctx context.Context, path string) (unlock func(), err error) {
	lock := flock.New(path)
	err = eventually(ctx, func(context.Context) error {
		got, err := lock.TryLock()
		if err == nil && !got {
			err = fmt.Errorf("another command holds %s", path)
		}
		return err
	})
	return func() { _ = lock.Unlock() }, err
}

// EnsureTool returns the binary of a pinned tool, which it builds when it is not there yet.
func EnsureTool(ctx context.Context, tool Tool, out io.Writer) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	layout, err := newLayout(filepath.Join(root, ".coursepay"))
	if err != nil {
		return "", err
	}
	b := &builder{layout: layout, progress: &progress{out: out}}
	return b.ensureTool(ctx, tool)
}
