package models

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// A new type of order is one entry in kinds. This says what is missing from it.
func TestEveryKindOfOrderHasAllItsParts(t *testing.T) {
	t.Parallel()
	owners := map[string]OrderType{}
	for orderType, k := range kinds {
		parts := reflect.ValueOf(k)
		for i := range parts.NumField() {
			require.Falsef(t, parts.Field(i).IsZero(), "%s has no %s", orderType, parts.Type().Field(i).Name)
		}
		require.NotEmptyf(t, Label(orderType), "%s has no label for users", orderType)
		for _, name := range []string{k.queue, k.queue + ".retry", k.queue + ".dlq"} {
			require.NotContainsf(t, owners, name, "%s has no queue of its own", orderType)
			owners[name] = orderType
		}
		require.Equal(t, k.queue, Queues()[orderType], "the publisher declares it and a worker subscribes to it")
	}
	require.Len(t, Queues(), len(kinds))
	require.Equal(t, "paynotify_queue", kinds[OrderCourse].queue, "the neighbours' name for it")
}
