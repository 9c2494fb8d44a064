-- +goose Up

-- Money given back, or to be: one row a refund. Its request_no is Alipay's out_request_no, under which money goes back
-- at most once.
create table xc_refund_record (
    id           bigint primary key,
    request_no   varchar(64)    not null,
    order_id     bigint         not null references xc_orders (id),
    pay_no       bigint         not null references xc_pay_record (pay_no),
    amount       numeric(12, 2) not null check (amount > 0),
    reason       varchar(255)   not null default '',
    origin       varchar(16)    not null check (origin in ('operator', 'paid_twice', 'not_for_sale', 'refused')),
    request_user varchar(64)    not null default '', -- the operator who asked, where one did
    status       varchar(16)    not null check (status in ('pending', 'refunded', 'closed')),
    create_date  timestamptz    not null,
    refund_date  timestamptz,                        -- when Alipay gave it back
    note         varchar(255)   not null default '', -- what the operator said who closed it
    constraint xc_refund_record_request_no unique (request_no),
    constraint xc_refund_record_done_has_date check ((status = 'refunded') = (refund_date is not null))
);
create index xc_refund_record_of_order on xc_refund_record (order_id, id);
create index xc_refund_record_of_pay_no on xc_refund_record (pay_no);

-- What waits for an operator, and what was decided: one row each time that a workflow parks something.
create table ops_attention (
    id          bigint generated always as identity primary key,
    workflow_id varchar(255)   not null,
    order_id    bigint references xc_orders (id),
    pay_no      bigint         not null,
    request_no  varchar(64), -- the refund that is parked; null for a payment
    trade_no    varchar(64)    not null default '',
    amount      numeric(12, 2) not null,
    paid_at     timestamptz, -- of a payment
    reason      varchar(512)   not null,
    create_date timestamptz    not null,
    decide_date timestamptz,
    decision    varchar(16),
    note        varchar(255)   not null default '',
    constraint ops_attention_decided check ((decide_date is null) = (decision is null))
);
create index ops_attention_open_of_order on ops_attention (order_id) where decide_date is null;
create index ops_attention_of_pay_no on ops_attention (pay_no);
create unique index ops_attention_one_open on ops_attention (workflow_id, pay_no) where decide_date is null;

-- 学习资料: what can be bought beside courses, who has chosen it, and who may download it.
create table learning_material (
    id          bigint primary key,
    company_id  bigint         not null,
    name        varchar(100)   not null,
    price       numeric(12, 2) not null check (price > 0),
    status      varchar(6)     not null check (status in ('203001', '203002', '203003')),
    create_date timestamptz    not null
);

create table xc_choose_material (
    id             bigint primary key,
    material_id    bigint         not null references learning_material (id),
    material_name  varchar(100)   not null,
    user_id        varchar(64)    not null check (user_id <> ''),
    company_id     bigint         not null,
    material_price numeric(12, 2) not null check (material_price > 0),
    status         varchar(6)     not null check (status in ('701001', '701002')),
    create_date    timestamptz    not null,
    remarks        varchar(255)
);
create unique index xc_choose_material_one_pending on xc_choose_material (user_id, material_id) where status = '701002';

create table xc_material_rights (
    id                 bigint primary key,
    choose_material_id bigint       not null unique references xc_choose_material (id),
    user_id            varchar(64)  not null,
    material_id        bigint       not null references learning_material (id),
    material_name      varchar(100) not null,
    create_date        timestamptz  not null,
    constraint xc_material_rights_one_per_material unique (user_id, material_id)
);

-- What reconciliation found in Alipay's bill of a day and not in our books, or the other way round, and could not mend: a
-- person has to look. The numbers stand as the bill says them; not every one is ours.
create table reconcile_finding (
    id          bigint generated always as identity primary key,
    bill_date   date         not null,
    kind        varchar(32)  not null,
    pay_no      varchar(64)  not null default '',
    trade_no    varchar(64)  not null default '',
    request_no  varchar(64)  not null default '',
    billed      numeric(12, 2), -- what the bill says; null where it says nothing
    booked      numeric(12, 2), -- what our books say
    detail      varchar(512) not null default '',
    create_date timestamptz  not null,
    found_date  timestamptz  not null, -- by the last comparison that found it
    resolve_date timestamptz,          -- when a later comparison did not find it any more
    constraint reconcile_finding_once unique (bill_date, kind, pay_no, trade_no, request_no)
);

-- What the sweep looks for: few rows in large tables.
create index xc_orders_unpaid on xc_orders (id) where status = '600001';
create index xc_pay_record_opened on xc_pay_record (expire_date)
    where status = '601001' and close_date is null and open_date is not null;
create index xc_pay_record_paid on xc_pay_record (pay_success_time) where pay_success_time is not null;
create index xc_refund_record_pending on xc_refund_record (id) where status = 'pending';
create index xc_refund_record_done on xc_refund_record (refund_date) where refund_date is not null;

-- What can be bought is one table in the code; a new type needs no change here.
alter table xc_orders drop constraint xc_orders_order_type_check;

-- +goose Down
alter table xc_orders add constraint xc_orders_order_type_check check (order_type in ('60201', '60202'));
drop index xc_pay_record_paid, xc_pay_record_opened, xc_orders_unpaid;
drop table reconcile_finding, xc_material_rights, xc_choose_material, learning_material, ops_attention, xc_refund_record;
