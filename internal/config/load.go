package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// variable is a field of Config as its tags describe it.
type variable struct {
	name     string // of the environment variable
	field    string
	index    []int
	parts    []Part // that use it; none: all
	required bool
	secret   secrecy // other than noSecret, it may come from a file
	expect   string
}

type secrecy string

const (
	noSecret  secrecy = ""
	secretKey secrecy = "key"
	secretURL secrecy = "url" // its host and path are no secret
)

func (v variable) fileName() string { return v.name + "_FILE" }

func (v variable) usedBy(parts []Part) bool {
	return len(v.parts) == 0 || slices.ContainsFunc(v.parts, func(p Part) bool { return slices.Contains(parts, p) })
}

func variables() []variable {
	var all []variable
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		v := variable{
			name:     f.Tag.Get("env"),
			field:    f.Name,
			index:    f.Index,
			required: f.Tag.Get("required") == "true",
			secret:   secrecy(f.Tag.Get("secret")),
			expect:   f.Tag.Get("expect"),
		}
		for part := range strings.SplitSeq(f.Tag.Get("part"), ",") {
			if part != "" {
				v.parts = append(v.parts, Part(part))
			}
		}
		all = append(all, v)
	}
	return all
}

// Load reads the configuration of a command that uses the given parts from an environment such as os.Environ().
// The error joins all faults, each naming its variable and what is expected; it never quotes a secret.
func Load(environ []string, parts ...Part) (Config, error) {
	l := loader{given: toMap(environ), needed: map[string]string{}, faulty: map[string]bool{}}
	for _, v := range variables() {
		if v.usedBy(parts) {
			l.collect(v)
		}
	}
	l.parse()
	l.check(parts)
	if err := errors.Join(l.faults...); err != nil {
		return Config{}, err
	}
	return l.config, nil
}

func toMap(environ []string) map[string]string {
	given := map[string]string{}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			given[name] = value
		}
	}
	return given
}

type loader struct {
	given  map[string]string // the environment
	needed map[string]string // what of it is read, files resolved
	config Config
	faults []error
	faulty map[string]bool // by variable: one fault each
}

// fault notes what is wrong with a variable, unless something is already.
func (l *loader) fault(name, format string, args ...any) {
	if l.faulty[name] {
		return
	}
	l.faulty[name] = true
	l.faults = append(l.faults, fmt.Errorf(name+": "+format, args...))
}

// collect takes a variable from the environment or from its file. An empty variable counts as missing.
func (l *loader) collect(v variable) {
	value, file := l.given[v.name], ""
	if v.secret != noSecret {
		file = l.given[v.fileName()]
	}
	switch {
	case value != "" && file != "":
		l.fault(v.name, "is given twice: set either it or %s", v.fileName())
	case value != "":
		l.needed[v.name] = value
	case file != "":
		l.readFile(v, file)
	}
}

// readFile takes a file's text without the line break that editors put at its end.
func (l *loader) readFile(v variable, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		l.fault(v.name, "%s names a file that cannot be read: %w", v.fileName(), withoutPath(err))
		return
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		l.fault(v.name, "%s names an empty file", v.fileName())
		return
	}
	l.needed[v.name] = value
}

// withoutPath keeps a secret out of the message that was set as the path of its file by mistake.
func withoutPath(err error) error {
	if wrong, ok := errors.AsType[*fs.PathError](err); ok {
		return wrong.Err
	}
	return err
}

// parse fills the struct. The library's messages quote values, so its errors only tell which fields are wrong.
func (l *loader) parse() {
	err := env.ParseWithOptions(&l.config, env.Options{
		Environment: l.needed,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[time.Duration](): parseDuration},
	})
	all, ok := errors.AsType[env.AggregateError](err)
	if err != nil && !ok {
		l.faults = append(l.faults, err)
	}
	for _, err := range all.Errors {
		l.parseFault(err)
	}
}

func (l *loader) parseFault(err error) {
	wrong, ok := errors.AsType[env.ParseError](err)
	if !ok {
		l.faults = append(l.faults, err)
		return
	}
	for _, v := range variables() {
		if v.field == wrong.Name {
			l.fault(v.name, "expected %s", v.expect)
		}
	}
}

// parseDuration forgives spaces, as in "5s, 10s".
func parseDuration(text string) (any, error) { return time.ParseDuration(strings.TrimSpace(text)) }
