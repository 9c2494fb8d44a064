-- +goose Up

-- What an operator searches by, beside the numbers that are unique already; and one order's own rows of what was parked.
create index ops_attention_of_order on ops_attention (order_id);
create index ops_attention_of_workflow on ops_attention (workflow_id, pay_no, id);
create index ops_attention_of_trade_no on ops_attention (trade_no) where trade_no <> '';

-- +goose Down
drop index ops_attention_of_trade_no, ops_attention_of_workflow, ops_attention_of_order;
