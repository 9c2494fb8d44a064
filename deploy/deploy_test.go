// Package deploy_test holds the files of deployment against the program that they deploy.
package deploy_test

import (
	"bytes"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/joho/godotenv"
	"github.com/stretchr/testify/require"

	"coursepay/deploy/compose/temporal"
	coursepay "coursepay/internal/cli"
	"coursepay/internal/config"
	"coursepay/internal/devstack"
	"coursepay/internal/sandbox"
)

// ours are the services that run our image for as long as the stack runs, and what each needs to know.
var ours = map[string][]config.Part{
	"api":     {config.NeedDatabase, config.NeedTemporal, config.NeedHTTP, config.NeedJWT, config.NeedAlipay},
	"worker":  {config.NeedDatabase, config.NeedAMQP, config.NeedTemporal, config.NeedAlipay},
	"sandbox": nil, // has variables of its own
	"migrate": {config.NeedDatabase, config.NeedTemporal},
	"seed":    {config.NeedDatabase},
}

// project is docker-compose.yml as docker compose reads it: its parser, its schema (unknown keys are errors), and its
// interpolation, here of nothing but the given variables.
func project(t *testing.T, environ ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"},
		cli.WithName("coursepay"), cli.WithEnv(environ), cli.WithProfiles([]string{"*"}))
	require.NoError(t, err)
	loaded, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return loaded
}

func TestEveryServiceIsHealthyOrRunsOnce(t *testing.T) {
	t.Parallel()
	p := project(t)
	for name, service := range p.Services {
		checked := service.HealthCheck != nil && !service.HealthCheck.Disable
		if service.Restart == types.RestartPolicyNo {
			require.False(t, checked, "%s runs once: nothing would come of a health check", name)
			continue
		}
		require.Equal(t, types.RestartPolicyUnlessStopped, service.Restart, name)
		require.True(t, checked, "%s has no health check", name)
		require.NotZero(t, service.HealthCheck.Timeout, name)
	}
}

// A service that runs once ends, and `up --wait` takes that for a failure unless somebody waits for it to end.
func TestWaitingIsForWhatCanHappen(t *testing.T) {
	t.Parallel()
	p := project(t)
	awaited := map[string]bool{}
	for name, service := range p.Services {
		for other, dependency := range service.DependsOn {
			awaited[other] = true
			want := types.ServiceConditionHealthy
			switch {
			case p.Services[other].Restart == types.RestartPolicyNo:
				want = types.ServiceConditionCompletedSuccessfully
			case dependency.Condition == types.ServiceConditionStarted && service.NetworkMode == "service:"+other:
				continue // what sharing a network implies
			}
			require.Equal(t, want, dependency.Condition, "%s waits for %s", name, other)
		}
	}
	for name, service := range p.Services {
		if service.Restart == types.RestartPolicyNo && len(service.Profiles) == 0 {
			require.True(t, awaited[name], "nobody waits for %s", name)
		}
	}
}

func TestPortsArePublishedOnLoopback(t *testing.T) {
	t.Parallel()
	taken := map[string]string{}
	for name, service := range project(t).Services {
		for _, port := range service.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, "%s publishes %s", name, port.Published)
			require.Empty(t, taken[port.Published], "port %s is published twice", port.Published)
			taken[port.Published] = name
		}
	}
	require.Equal(t, "edge", taken["8080"])
	require.Equal(t, "edge", taken["8090"])
}

// Whoever moves a port moves it inside too: to api and sandbox, localhost is what it is to the browser.
func TestAMovedPortIsTheSameInside(t *testing.T) {
	t.Parallel()
	p := project(t, "API_PORT=18080", "SANDBOX_PORT=18090")
	for _, port := range p.Services["edge"].Ports {
		require.Equal(t, strconv.Itoa(int(port.Target)), port.Published)
	}
	require.Equal(t, ":18080", *p.Services["api"].Environment["HTTP_ADDR"])
	require.Equal(t, ":18090", *p.Services["sandbox"].Environment["SANDBOX_ADDR"])
	require.Contains(t, strings.Join(p.Services["api"].HealthCheck.Test, " "), ":18080/")
	require.Contains(t, strings.Join(p.Services["sandbox"].HealthCheck.Test, " "), ":18090/")
}

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^[\w./-]+:\d+\.\d+(\.\d+)?(-[\w-]+)?$`)
	p := project(t)
	for name, service := range p.Services {
		require.NotContains(t, service.Image, "auto-setup", "Temporal has retired it")
		if service.Build == nil {
			require.Regexp(t, pinned, service.Image, name)
		}
	}
	tag := func(service string) string { return path.Base(strings.ReplaceAll(p.Services[service].Image, ":", "/")) }
	require.Equal(t, tag("temporal"), tag("temporal-schema"), "server and schema change together")
	require.Equal(t, tag("temporal"), tag("temporal-namespace"))
}

// Each variable that a process of ours gets is one that it reads.
func TestNoVariableIsUnknown(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../.env.example")
	require.NoError(t, err)
	known := names(regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]*)=`), string(example))
	known = append(known, "ALIPAY_PRIVATE_KEY_FILE", "ALIPAY_PUBLIC_KEY_FILE")
	itsOwn := append(names(regexp.MustCompile(`\(environment: ([A-Z_]+)\)`), help(t, "sandbox")), "APP_ENV")
	for name := range ours {
		allowed := known
		if name == "sandbox" {
			allowed = itsOwn
		}
		variables := slices.Sorted(maps.Keys(project(t).Services[name].Environment))
		require.NotEmpty(t, variables)
		for _, variable := range variables {
			require.Contains(t, allowed, variable, "%s does not know it", name)
		}
	}
}

func names(pattern *regexp.Regexp, text string) (found []string) {
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// Out of the box, and with what people set, each process of ours finds its configuration complete and right, with the
// keys that the stack makes for itself.
func TestConfigurationIsComplete(t *testing.T) {
	t.Parallel()
	keys := t.TempDir()
	require.NoError(t, sandbox.GenerateKeys(keys, false))
	for _, environ := range [][]string{nil, {
		"PUBLIC_URL=http://192.168.0.10:8080", "ALIPAY_GATEWAY=http://192.168.0.10:8090/gateway.do",
		"JWT_SECRET=another", "POSTGRES_PASSWORD=another", "RABBITMQ_PASSWORD=another", "ORDER_EXPIRY=30m",
	}} {
		for name, parts := range ours {
			variables := withKeys(project(t, environ...).Services[name].Environment, keys)
			if name == "sandbox" {
				requireFiles(t, variables)
				continue
			}
			_, err := config.Load(variables, parts...)
			require.NoError(t, err, name)
		}
	}
}

// withKeys lists the variables with paths below /keys leading to a folder here.
func withKeys(variables types.MappingWithEquals, folder string) (environ []string) {
	for name, value := range variables {
		environ = append(environ, name+"="+strings.Replace(*value, "/keys/", folder+"/", 1))
	}
	return environ
}

func requireFiles(t *testing.T, environ []string) {
	t.Helper()
	for _, variable := range environ {
		if name, file, _ := strings.Cut(variable, "="); strings.HasSuffix(name, "_KEY_FILE") {
			require.FileExists(t, file, name)
		}
	}
}

// Every command line in the file, health checks too, is one that the program understands.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	for name, service := range project(t).Services {
		if service.Build == nil {
			continue
		}
		help(t, service.Command...)
		if service.HealthCheck == nil {
			continue
		}
		require.Equal(t, []string{"CMD", "/coursepay"}, []string(service.HealthCheck.Test[:2]), "%s: there is no shell", name)
		help(t, service.HealthCheck.Test[2:]...)
	}
}

func help(t *testing.T, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	code := coursepay.Run(t.Context(), append(slices.Clone(command), "--help"), &out, &out)
	require.Zero(t, code, "coursepay %s: %s", strings.Join(command, " "), out.String())
	return out.String()
}

// Where our image has a folder for a volume, the volume takes over its owner; anywhere else it would be root's.
func TestVolumesBelongToTheImagesUser(t *testing.T) {
	t.Parallel()
	for name, service := range project(t).Services {
		for _, volume := range service.Volumes {
			switch {
			case volume.Type == types.VolumeTypeBind:
				require.DirExists(t, volume.Source, name)
			case service.Build != nil:
				require.DirExists(t, filepath.Join("compose", "rootfs", volume.Target), name)
			}
		}
	}
}

// The Temporal server of a development stack (coursepay up --engine postgres) is the one of docker-compose.yml, and every
// variable in its file of tuning is one that compose hands on.
func TestTheEngineIsTheOneOfTheStack(t *testing.T) {
	t.Parallel()
	server := project(t).Services["temporal"]
	for _, tool := range []devstack.Tool{devstack.TemporalServer, devstack.TemporalSQLTool} {
		require.Equal(t, "temporalio/server:"+tool.Version, server.Image, tool.Name)
	}
	tuning, err := godotenv.Unmarshal(temporal.ServerEnv)
	require.NoError(t, err)
	require.NotEmpty(t, tuning)
	for name, value := range tuning {
		require.Contains(t, server.Environment, name)
		require.Equal(t, value, *server.Environment[name], name)
	}
}
