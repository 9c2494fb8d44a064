package devstack

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeDocker keeps one container's state in a file and writes down what it was asked.
const fakeDocker = `#!/bin/sh
echo "$*" >> "$FAKE_DOCKER/asked"
case $1 in
info) ;;
run) echo "$@" | sed 's/.*coursepay=\([0-9a-f]*\).*/\1/' > "$FAKE_DOCKER/label"; echo 4711 > "$FAKE_DOCKER/pid" ;;
container)
	[ -e "$FAKE_DOCKER/pid" ] || { echo "no such container"; exit 1; }
	case $4 in *Labels*) cat "$FAKE_DOCKER/label" ;; *) cat "$FAKE_DOCKER/pid" ;; esac ;;
stop | kill) echo 0 > "$FAKE_DOCKER/pid" ;;
rm) rm "$FAKE_DOCKER/pid" ;;
logs) echo "its last words" ;;
*) exit 1 ;;
esac
`

func TestContainer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(fakeDocker), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("FAKE_DOCKER", dir)
	require.True(t, dockerAnswers(t.Context()))

	b := &builder{layout: testLayout(t)}
	postgres, err := b.postgres(54329)
	require.NoError(t, err)
	c, isContainer := postgres.server.(*container)
	require.True(t, isContainer, "without an installed Postgres it runs in Docker")
	require.False(t, c.asWanted())
	require.NoError(t, c.stop(t.Context()), "none is there yet")

	require.NoError(t, c.start(t.Context()))
	require.Equal(t, 4711, c.pid())
	require.True(t, c.asWanted())
	require.Equal(t, "its last words", c.lastWords(t.Context()))
	other := *c
	other.port = 54330
	require.False(t, other.asWanted(), "another port needs another container")

	require.NoError(t, c.kill())
	require.Zero(t, c.pid())
	require.NoError(t, c.start(t.Context()))
	require.NoError(t, stopByName(t.Context(), b.layout, "postgres"), "a later command knows only the folder")
	require.Zero(t, c.pid())
	require.False(t, c.marked())

	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	require.NoError(t, err)
	require.Contains(t, string(asked), "--publish 127.0.0.1:54329:5432")
	require.Contains(t, string(asked), "--volume "+c.name()+":/var/lib/postgresql/data")
	require.Contains(t, string(asked), "postgres:16-alpine")
}
