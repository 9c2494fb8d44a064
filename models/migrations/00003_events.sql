-- +goose Up

-- Whoever shows a pay record hears of its changes: the number of each record that looks different now is told to the
-- channel coursepay_pay_record when the change is committed. Numbers of one transaction are told once each. Nothing is
-- told of a new record, which nobody can be looking at, nor of columns that no viewer sees.

-- +goose StatementBegin
create function tell_pay_record_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('coursepay_pay_record', new.pay_no::text);
    return null;
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create function tell_order_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('coursepay_pay_record', pay_no::text) from xc_pay_record where order_id = new.id;
    return null;
end
$$;
-- +goose StatementEnd

-- The columns are those of the API's pay record.
create trigger xc_pay_record_changed after update on xc_pay_record for each row
    when ((old.status, old.out_pay_no, old.pay_success_time, old.expire_date, old.total_price, old.currency,
           old.out_pay_channel, old.order_id, old.order_name, old.create_date, old.user_id)
          is distinct from
          (new.status, new.out_pay_no, new.pay_success_time, new.expire_date, new.total_price, new.currency,
           new.out_pay_channel, new.order_id, new.order_name, new.create_date, new.user_id))
    execute function tell_pay_record_change();

create trigger xc_orders_changed after update on xc_orders for each row
    when (old.status is distinct from new.status)
    execute function tell_order_change();

-- +goose Down
drop trigger xc_orders_changed on xc_orders;
drop trigger xc_pay_record_changed on xc_pay_record;
drop function tell_order_change();
drop function tell_pay_record_change();
