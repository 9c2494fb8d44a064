package sandbox_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
)

// Somebody who looks for a fault finds it in the documentation, and nothing there that does not exist.
func TestDocumentationListsEveryFault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/sandbox.md")
	require.NoError(t, err)
	_, list, found := strings.Cut(string(text), "\n## Faults\n")
	require.True(t, found)
	list, _, _ = strings.Cut(list, "\n## ")
	documented := map[string]bool{}
	for line := range strings.Lines(list) {
		if names, isRow := strings.CutPrefix(line, "| `"); isRow {
			names, _, _ = strings.Cut(names, "` | ")
			for name := range strings.SplitSeq(names, "` `") {
				documented[name] = true
			}
		}
	}
	known := map[string]bool{}
	for group := range reflect.TypeFor[sandbox.Faults]().Fields() {
		if group.Type.Kind() != reflect.Struct {
			continue // the seed
		}
		for fault := range group.Type.Fields() {
			known[jsonName(group)+"."+jsonName(fault)] = true
		}
	}
	require.Equal(t, known, documented)
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
