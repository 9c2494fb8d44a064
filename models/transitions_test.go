package models

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatusesNeverGoBack(t *testing.T) {
	t.Parallel()
	for _, final := range []OrderStatus{OrderRefunded, OrderFinished} {
		require.Empty(t, orderTransitions[final], final)
	}
	require.False(t, OrderPaid.May(OrderUnpaid))
	require.False(t, OrderPaid.May(OrderClosed))
	require.False(t, PayPaid.May(PayUnpaid))
	require.False(t, PayRefunded.May(PayPaid))
	require.True(t, OrderClosed.May(OrderPaid), "a late payment is settled")
	require.ElementsMatch(t, []OrderStatus{OrderUnpaid, OrderClosed}, before(orderTransitions, OrderPaid))
}

func TestEveryRefusalHasWords(t *testing.T) {
	t.Parallel()
	for code, message := range messages {
		require.NotEmpty(t, message, code)
	}
	for _, status := range []OrderStatus{OrderUnpaid, OrderPaid, OrderClosed, OrderRefunded, OrderFinished} {
		require.NotEmpty(t, status.Label(), status)
	}
}
