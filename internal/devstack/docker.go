package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// container is a server in Docker, named after the stack's folder. Its data live in a volume of the same name, which
// outlives the container as a data folder outlives a process.
type container struct {
	service, image, volume string
	env, command           []string
	port, inner            int
	apiPort, innerAPI      int // optional second port
	layout                 layout
}

func (b *builder) container(c container) *container {
	c.layout = b.layout
	return &c
}

func (c *container) name() string {
	return "coursepay-" + digest(c.layout.root)[:12] + "-" + c.service
}

// marker is a file that tells a later command that there is a container to stop.
func (c *container) marker() string { return c.layout.run(c.service + ".container") }

func (c *container) marked() bool {
	_, err := os.Stat(c.marker())
	return err == nil
}

func (c *container) settings() string { return digest(fmt.Sprint(c.image, c.port, c.apiPort))[:12] }

func docker(ctx context.Context, arguments ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", arguments...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("docker %s: %w: %s", arguments[0], err, text)
	}
	return text, nil
}

func (c *container) start(ctx context.Context) error {
	arguments := []string{
		"run", "--detach", "--name", c.name(), "--label", "coursepay=" + c.settings(),
		"--volume", c.name() + ":" + c.volume, "--publish", fmt.Sprintf("%s:%d", loopback(c.port), c.inner),
	}
	if c.apiPort != 0 {
		arguments = append(arguments, "--publish", fmt.Sprintf("%s:%d", loopback(c.apiPort), c.innerAPI))
	}
	for _, setting := range c.env {
		arguments = append(arguments, "--env", setting)
	}
	if err := os.WriteFile(c.marker(), nil, 0o644); err != nil {
		return err
	}
	_, err := docker(ctx, append(append(arguments, c.image), c.command...)...)
	return err
}

// stop ends the container and removes it, also one that has exited long ago; its volume stays.
func (c *container) stop(ctx context.Context) error {
	if _, err := c.inspect(ctx, "{{.State.Pid}}"); err != nil {
		return removeFile(c.marker()) // there is no such container
	}
	if _, err := docker(ctx, "stop", "--time", "20", c.name()); err != nil {
		return err
	}
	if _, err := docker(ctx, "rm", "--force", c.name()); err != nil {
		return err
	}
	return removeFile(c.marker())
}

func (c *container) kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if c.pid() == 0 {
		return nil
	}
	_, err := docker(ctx, "kill", c.name())
	return err
}

func (c *container) inspect(ctx context.Context, format string) (string, error) {
	return docker(ctx, "container", "inspect", "--format", format, c.name())
}

func (c *container) pid() int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	text, err := c.inspect(ctx, "{{.State.Pid}}")
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return pid
}

func (c *container) asWanted() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	label, err := c.inspect(ctx, `{{index .Config.Labels "coursepay"}}`)
	return err == nil && label == c.settings() && c.pid() != 0
}

func (c *container) lastWords(ctx context.Context) string {
	text, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "15", c.name())
	return text
}
