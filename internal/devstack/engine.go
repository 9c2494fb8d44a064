package devstack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/joho/godotenv"
	"go.yaml.in/yaml/v3"

	compose "coursepay/deploy/compose/temporal"
)

// The Temporal servers that a stack can run.
const (
	// EngineDev is Temporal's development server: one program with SQLite and the Web UI.
	EngineDev = "dev"
	// EnginePostgres is Temporal's plain server, with its histories in the stack's own Postgres, as docker-compose.yml runs
	// it. It is built from source when first asked for, which takes minutes, and has no Web UI.
	EnginePostgres = "postgres"
)

// engineSettings tune a Temporal server.
type engineSettings struct {
	env     map[string]string // variables of its process
	dynamic map[string]any    // its dynamic configuration
}

// engineSettings are those of the files that docker-compose.yml uses, unless the options name others.
func (o Options) engineSettings() (engineSettings, error) {
	if o.EngineSettings != nil {
		return newEngineSettings(o.EngineSettings)
	}
	var file map[string][]struct{ Value any }
	if err := yaml.Unmarshal(compose.DynamicConfig, &file); err != nil {
		return engineSettings{}, fmt.Errorf("read the engine's dynamic configuration: %w", err)
	}
	shipped := engineSettings{dynamic: map[string]any{}}
	for key, values := range file {
		if len(values) != 1 {
			return engineSettings{}, fmt.Errorf("the engine's dynamic configuration has %d values for %s: want one", len(values), key)
		}
		shipped.dynamic[key] = values[0].Value
	}
	var err error
	if shipped.env, err = godotenv.Unmarshal(compose.ServerEnv); err != nil {
		return engineSettings{}, fmt.Errorf("read the engine's variables: %w", err)
	}
	return shipped, nil
}

// newEngineSettings sorts settings by their names: those with a dot are keys of the dynamic configuration, with their
// values in YAML, the others are variables.
func newEngineSettings(given map[string]string) (engineSettings, error) {
	s := engineSettings{env: map[string]string{}, dynamic: map[string]any{}}
	for name, text := range given {
		if !strings.Contains(name, ".") {
			s.env[name] = text
			continue
		}
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return s, fmt.Errorf("engine setting %s: %w", name, err)
		}
		s.dynamic[name] = value
	}
	return s, nil
}

// file is the dynamic configuration as a file of the server's own format.
func (s engineSettings) file() ([]byte, error) {
	values := map[string]any{}
	for key, value := range s.dynamic {
		values[key] = []any{map[string]any{"value": value}}
	}
	return yaml.Marshal(values)
}

// flags are the dynamic configuration as the development server takes it.
func (s engineSettings) flags() (arguments []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(s.dynamic)) {
		value, err := json.Marshal(s.dynamic[key])
		if err != nil {
			return nil, fmt.Errorf("engine setting %s: %w", key, err)
		}
		arguments = append(arguments, "--dynamic-config-value", fmt.Sprintf("%s=%s", key, value))
	}
	return arguments, nil
}

// runtimeEnv are the variables that Go itself reads; the others mean nothing to the development server.
func (s engineSettings) runtimeEnv() []string {
	runtime := maps.Clone(s.env)
	maps.DeleteFunc(runtime, func(name, _ string) bool { return !strings.HasPrefix(name, "GO") })
	return environ(runtime)
}
