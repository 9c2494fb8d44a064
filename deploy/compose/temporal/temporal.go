// Package temporal is the configuration of the Temporal server that we ship, for a development stack that runs the same
// server in the same way as docker-compose.yml does.
package temporal

import _ "embed"

var (
	// DynamicConfig is the server's dynamic configuration, in YAML.
	//go:embed dynamicconfig.yaml
	DynamicConfig []byte
	// ServerEnv are variables of the server's process, one NAME=value a line.
	//go:embed server.env
	ServerEnv string
	// SchemaScript creates the server's databases, or brings them up to date.
	//go:embed schema.sh
	SchemaScript string
)
