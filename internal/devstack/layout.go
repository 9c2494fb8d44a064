package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// layout is the folder of a stack and where things are in it: keys, log, run (pid files), and each service's data.
type layout struct {
	root string
	// leashed: what is started here dies when the program that started it dies, however that happens.
	leashed bool
}

func newLayout(dir string) (layout, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, err
	}
	l := layout{root: root}
	for _, sub := range []string{"log", "run"} {
		if err := os.MkdirAll(l.path(sub), 0o755); err != nil {
			return layout{}, fmt.Errorf("make the stack's folder: %w", err)
		}
	}
	return l, nil
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.root}, parts...)...)
}
func (l layout) run(file string) string { return l.path("run", file) }
func (l layout) log(name string) string { return l.path("log", name+".log") }

// half says that a service's data folder was begun but its first start never finished: it was killed half-way.
// Such data is worth nothing and may keep the service from ever starting.
func (l layout) half(service string) bool {
	_, err := os.Stat(l.path(service, "complete"))
	return errors.Is(err, os.ErrNotExist)
}

// fresh empties a half-made data folder, and leaves a complete one alone.
func (l layout) fresh(service string) error {
	if l.half(service) {
		if err := os.RemoveAll(l.path(service)); err != nil {
			return fmt.Errorf("remove the half-made data of %s: %w", service, err)
		}
	}
	return os.MkdirAll(l.path(service), 0o755)
}

// complete marks a data folder as good, after the service's first start has succeeded.
func (l layout) complete(service string) error {
	if !l.half(service) {
		return nil
	}
	return os.WriteFile(l.path(service, "complete"), nil, 0o644)
}
