package client

import (
	"context"
	"net/http"
	"net/url"
)

// Refund gives money of a paid order back, in part or in full. It is in the books when this returns, and RefundPending until
// Alipay has given the money back. A repeat under the same IdempotencyKey is the same refund; without a key, a repeat is what
// asks for the same amount for the same reason.
func (c *Client) Refund(ctx context.Context, orderID string, r RefundRequest) (refund Refund, err error) {
	return refund, c.ask(ctx, question{
		method: http.MethodPost, path: "/orders/" + url.PathEscape(orderID) + "/refunds", key: r.IdempotencyKey, body: r,
	}, &refund)
}

// Refunds lists an order's refunds, oldest first.
func (c *Client) Refunds(ctx context.Context, orderID string) ([]Refund, error) {
	return get[[]Refund](ctx, c, nil, "/orders/"+url.PathEscape(orderID)+"/refunds")
}

// Attention lists what waits for an operator, oldest first.
func (c *Client) Attention(ctx context.Context) ([]Attention, error) {
	return get[[]Attention](ctx, c, nil, "/ops/attention")
}

// Decide decides about something that waits for an operator. It is never repeated: when the answer to it is lost, look at
// Attention or OrderStory first.
func (c *Client) Decide(ctx context.Context, d Decision) (decided Attention, err error) {
	return decided, c.ask(ctx, question{method: http.MethodPost, path: "/ops/decisions", body: d, once: true}, &decided)
}

// OrderStory tells everything that is known of an order, whoever's it is.
func (c *Client) OrderStory(ctx context.Context, orderID string) (OrderStory, error) {
	return get[OrderStory](ctx, c, nil, "/ops/orders/"+url.PathEscape(orderID))
}

// SearchOrders finds orders by order id, pay number, Alipay's trade number, user, refund request number or outBusinessId,
// each in full.
func (c *Client) SearchOrders(ctx context.Context, text string, p Page) (OrderPage, error) {
	query := p.query()
	query.Set("q", text)
	return get[OrderPage](ctx, c, query, "/ops/orders")
}
