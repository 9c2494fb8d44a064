-- +goose Up

-- The catalogue, owned by the content service: the source of truth for a course's price and validity.
create table course_publish (
    id             bigint primary key,
    company_id     bigint         not null,
    name           varchar(100)   not null,
    charge         varchar(6)     not null check (charge in ('201000', '201001')),
    price          numeric(12, 2) not null check (price >= 0),
    original_price numeric(12, 2) check (original_price >= 0),
    valid_days     integer        not null default 365 check (valid_days between 1 and 36500),
    status         varchar(6)     not null check (status in ('203001', '203002', '203003')),
    online_date    timestamptz,
    offline_date   timestamptz,
    constraint course_publish_price_by_charge check ((charge = '201001') = (price > 0))
);

-- A learner's choice of a course, paid or free.
create table xc_choose_course (
    id              bigint primary key,
    course_id       bigint         not null references course_publish (id),
    course_name     varchar(100)   not null,
    user_id         varchar(64)    not null check (user_id <> ''),
    company_id      bigint         not null,
    order_type      varchar(6)     not null check (order_type in ('700001', '700002')),
    create_date     timestamptz    not null,
    course_price    numeric(12, 2) not null check (course_price >= 0),
    valid_days      integer        not null check (valid_days between 1 and 36500),
    status          varchar(6)     not null check (status in ('701001', '701002')),
    validtime_start timestamptz,
    validtime_end   timestamptz,
    remarks         varchar(255),
    constraint xc_choose_course_valid_once_chosen
        check (status = '701002' or (validtime_start is not null and validtime_end > validtime_start))
);
create unique index xc_choose_course_one_pending on xc_choose_course (user_id, course_id) where status = '701002';

-- What a learner may study, and until when: one row a learner and course.
create table xc_course_tables (
    id               bigint primary key,
    choose_course_id bigint       not null unique references xc_choose_course (id),
    user_id          varchar(64)  not null,
    course_id        bigint       not null references course_publish (id),
    company_id       bigint       not null,
    course_name      varchar(100) not null,
    course_type      varchar(6)   not null check (course_type in ('700001', '700002')),
    create_date      timestamptz  not null,
    validtime_start  timestamptz  not null,
    validtime_end    timestamptz  not null check (validtime_end > validtime_start),
    update_date      timestamptz,
    remarks          varchar(255),
    constraint xc_course_tables_one_per_course unique (user_id, course_id)
);

create table xc_orders (
    id              bigint primary key,
    total_price     numeric(12, 2) not null check (total_price >= 0),
    create_date     timestamptz    not null,
    status          varchar(6)     not null check (status in ('600001', '600002', '600003', '600004', '600005')),
    user_id         varchar(64)    not null check (user_id <> ''),
    order_type      varchar(6)     not null check (order_type in ('60201', '60202')),
    order_name      varchar(100)   not null,
    order_descrip   varchar(255),
    order_detail    text,
    out_business_id varchar(64)    not null,
    paid_by         bigint, -- the pay_no of the attempt that paid it; another one's payment came twice
    constraint xc_orders_one_per_business unique (out_business_id),
    constraint xc_orders_paid_by_somebody check (status in ('600001', '600003') or paid_by is not null)
);
create index xc_orders_of_user on xc_orders (user_id, create_date desc);

create table xc_orders_goods (
    id           bigint primary key,
    order_id     bigint         not null references xc_orders (id),
    goods_id     varchar(64)    not null,
    goods_type   varchar(6)     not null,
    goods_name   varchar(100)   not null,
    goods_price  numeric(12, 2) not null check (goods_price >= 0),
    goods_detail text
);
create index xc_orders_goods_of_order on xc_orders_goods (order_id);

-- One row an attempt to pay: its pay_no is Alipay's out_trade_no. The original has no code for "closed", so an
-- attempt's own life stands beside its status.
create table xc_pay_record (
    id               bigint primary key,
    pay_no           bigint         not null,
    out_pay_no       varchar(64),
    out_pay_channel  varchar(6)     not null check (out_pay_channel in ('603001', '603002')),
    order_id         bigint         not null references xc_orders (id),
    order_name       varchar(100)   not null,
    total_price      numeric(12, 2) not null check (total_price > 0),
    currency         varchar(3)     not null default 'CNY',
    create_date      timestamptz    not null,
    status           varchar(6)     not null check (status in ('601001', '601002', '601003')),
    pay_success_time timestamptz,
    user_id          varchar(64)    not null,
    request_id       varchar(64)    not null, -- the update that asked for it: a repeat finds the same attempt
    expire_date      timestamptz    not null, -- Alipay's time_expire
    open_date        timestamptz,             -- when the pay page was first handed out
    supersede_date   timestamptz,             -- when we stopped to hand it out; a page that is open may still be paid
    close_date       timestamptz,             -- when nobody could pay it any more
    constraint xc_pay_record_pay_no unique (pay_no),
    constraint xc_pay_record_out_pay_no unique (out_pay_no),
    constraint xc_pay_record_one_per_request unique (order_id, request_id),
    constraint xc_pay_record_paid_is_proved
        check (status = '601001' or (out_pay_no is not null and pay_success_time is not null))
);

-- The outbox: written by the transaction that decides, moved to history once the broker has confirmed it.
create table mq_message (
    id                 bigint primary key,
    message_type       varchar(32) not null,
    business_key1      varchar(64),
    business_key2      varchar(64),
    business_key3      varchar(512),
    execute_num        integer     not null default 0 check (execute_num >= 0),
    state              varchar(1)  not null default '0' check (state in ('0', '1')),
    returnfailure_date timestamptz,
    returnsuccess_date timestamptz,
    returnfailure_msg  varchar(2048),
    execute_date       timestamptz,
    stage_state1       varchar(1)  not null default '0',
    stage_state2       varchar(1)  not null default '0',
    stage_state3       varchar(1)  not null default '0',
    stage_state4       varchar(1)  not null default '0',
    create_date        timestamptz not null default now()
);
create index mq_message_of_business on mq_message (business_key1, message_type);

create table mq_message_history (like mq_message including defaults including constraints, primary key (id));
create index mq_message_history_of_business on mq_message_history (business_key1, message_type);

-- Every callback that knocked, believed or not: the evidence behind a payment, or behind a refusal.
create table pay_notify (
    id           bigint generated always as identity primary key,
    receive_date timestamptz not null,
    pay_no       bigint,                -- as claimed; only an accepted row's claim was proved
    notify_id    varchar(128),
    verdict      varchar(16) not null check (verdict in ('accepted', 'duplicate', 'ignored', 'refused', 'failed')),
    reason       varchar(255) not null default '',
    remote_addr  varchar(64) not null,
    raw          bytea       not null,  -- the body as received, cut at a cap
    raw_size     bigint      not null   -- its full size in bytes, as far as it was read
);
create index pay_notify_of_pay_no on pay_notify (pay_no);
create index pay_notify_by_date on pay_notify (receive_date);

-- What happened to an order, in order: written by the transaction that made it happen.
create table order_audit (
    id          bigint generated always as identity primary key,
    order_id    bigint      not null references xc_orders (id),
    pay_no      bigint,
    create_date timestamptz not null,
    event       varchar(32) not null,
    from_status varchar(6),
    to_status   varchar(6),
    note        varchar(255) not null default ''
);
create index order_audit_of_order on order_audit (order_id, id);

-- Which process mints ids with which snowflake node.
create table node_lease (
    node_id    integer primary key check (node_id between 0 and 1023),
    holder     text        not null,
    expires_at timestamptz not null
);

-- +goose Down
drop table node_lease, order_audit, pay_notify, mq_message_history, mq_message, xc_pay_record, xc_orders_goods,
    xc_orders, xc_course_tables, xc_choose_course, course_publish;
