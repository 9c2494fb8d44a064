package devstack

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// SharedDir is the folder of the services that all tests of this checkout share (see package devtest).
func SharedDir() (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".coursepay", "test"), nil
}

// UpShared starts the services that the tests share, or finds them running. Those that DATABASE_URL, AMQP_URL and
// TEMPORAL_ADDRESS name are taken instead.
func UpShared(ctx context.Context, out io.Writer) (*Stack, error) {
	dir, err := SharedDir()
	if err != nil {
		return nil, err
	}
	layout, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	b := &builder{layout: layout, progress: &progress{out: out}}
	if err := errors.Join(b.ensureCompiler(ctx), b.ensureTestPrograms(ctx)); err != nil {
		return nil, err
	}
	options := Options{Dir: dir, ServicesOnly: true, ForTests: true, Progress: out, Env: map[string]string{}}
	for _, name := range givenVariables {
		if value := os.Getenv(name); value != "" {
			options.Env[name] = value
		}
	}
	return Up(ctx, options)
}

// DownShared stops the services that the tests share and throws their data away.
func DownShared(ctx context.Context) error {
	dir, err := SharedDir()
	if err != nil {
		return err
	}
	if err := Down(ctx, dir); err != nil {
		return err
	}
	for _, data := range []string{"postgres", "rabbitmq", "temporal"} {
		if err := os.RemoveAll(filepath.Join(dir, data)); err != nil {
			return err
		}
	}
	return nil
}
