package models

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatusesNeverGoBack(t *testing.T) {
	t.Parallel()
	for _, final := range []OrderStatus{OrderRefunded} {
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
	require.Equal(t, "已支付", Label(OrderPaid))
	require.Equal(t, "待支付", Label(ChoosePending))
	require.Empty(t, Label("600000"))
}
