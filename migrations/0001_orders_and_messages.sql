-- The order's path: orders, their saga, their history, and the messages to send, received and parked.
--
-- No foreign keys: the rows of one order are written together, in one transaction, by one use case. A key would add a
-- look-up for each row and would not survive distributing the tables by order id.

create table order_service.orders (
    order_id    uuid primary key,
    user_id     text not null check (char_length(user_id) between 1 and 255),
    currency    text not null check (currency ~ '^[A-Z]{3}$'),
    -- In minor units (cents). Fifteen digits: what a double carries without loss, so the wire's two forms agree.
    total_minor bigint not null check (total_minor between 0 and 999999999999999),
    status      text not null check (status in (
        'PENDING', 'CONFIRMED', 'CANCELLED', 'IN_PROGRESS', 'DELIVERED', 'SUSPENDED', 'TERMINATED')),
    reason_code text,
    reason      text,
    -- The version of the order's last event.
    version     integer not null check (version > 0),
    created_at  timestamptz not null,
    updated_at  timestamptz not null
) with (fillfactor = 85);

-- Serves "a user's orders, newest first": ids are UUIDv7, so their order is the order of creation. The status is left
-- out on purpose: with it each change of status would write this index too.
create index orders_by_user on order_service.orders (user_id, order_id);

create table order_service.order_items (
    order_id         uuid not null,
    line             smallint not null,
    product_id       text not null check (char_length(product_id) between 1 and 255),
    quantity         integer not null check (quantity > 0),
    unit_price_minor bigint not null check (unit_price_minor >= 0),
    primary key (order_id, line)
);

-- The idempotency keys of CreateOrder, for each user.
create table order_service.create_requests (
    user_id     text not null,
    request_id  text not null check (char_length(request_id) between 1 and 255),
    fingerprint text not null,
    order_id    uuid not null,
    created_at  timestamptz not null default now(),
    primary key (user_id, request_id)
);
create index create_requests_by_age on order_service.create_requests using brin (created_at);

create table order_service.sagas (
    order_id    uuid primary key,
    state       text not null check (state in ('RUNNING', 'COMPLETED', 'UNDONE')),
    -- {"stock": "ASKED", ...}: the steps this saga was started with, and how far each has come.
    steps       jsonb not null,
    -- When the step that is waited for was asked, and when it is given up. Null when nothing is waited for.
    asked_at    timestamptz,
    deadline_at timestamptz,
    started_at  timestamptz not null,
    -- The trace in which the order was created: what happens much later links to it.
    traceparent text
) with (fillfactor = 85);
create index sagas_by_deadline on order_service.sagas (deadline_at) where deadline_at is not null;

-- The append-only record of what happened. Old partitions may be detached and dropped.
create table order_service.order_events (
    order_id    uuid not null,
    version     integer not null,
    event_id    uuid not null,
    user_id     text not null,
    type        text not null,
    status      text not null,
    occurred_at timestamptz not null,
    traceparent text,
    payload     text not null,
    primary key (order_id, version, occurred_at)
) partition by range (occurred_at);

-- When the broker took responsibility for an event. Beside the history, not in it, so that history is never rewritten.
create table order_service.event_confirmations (
    order_id     uuid not null,
    version      integer not null,
    confirmed_at timestamptz not null
) partition by range (confirmed_at);
create index event_confirmations_by_order on order_service.event_confirmations (order_id, version);

-- What is still to be sent: a queue, so it is vacuumed early and at full speed.
create table order_service.outbox (
    order_id     uuid not null,
    version      integer not null,
    bucket       smallint not null check (bucket between 0 and 63),
    event_id     uuid not null,
    type         text not null,
    occurred_at  timestamptz not null,
    traceparent  text,
    payload      text not null,
    enqueued_at  timestamptz not null default now(),
    -- Not before this. 'infinity': parked, an operator decides.
    due_at       timestamptz not null default now(),
    attempts     integer not null default 0,
    last_failure text,
    primary key (order_id, version)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
create index outbox_by_bucket on order_service.outbox (bucket, due_at);

-- Which relay may send which bucket. The epoch rises with each change of owner and fences the marks of a late one.
create table order_service.relay_leases (
    bucket     smallint primary key,
    owner      uuid,
    epoch      bigint not null default 0,
    expires_at timestamptz not null default '-infinity'
) with (fillfactor = 20);
insert into order_service.relay_leases (bucket) select generate_series(0, 63);

-- The relays that are alive, so that each takes its fair share of the buckets.
create table order_service.relays (
    owner      uuid primary key,
    expires_at timestamptz not null
) with (fillfactor = 20);

-- Which messages have had their effect.
create table order_service.inbox (
    consumer    text not null,
    message_key uuid not null,
    received_at timestamptz not null default now(),
    primary key (consumer, message_key)
);
create index inbox_by_age on order_service.inbox using brin (received_at);

-- Messages that could not be handled. Kept until an operator redrives or discards them.
create table order_service.parked_messages (
    parked_id    bigint generated always as identity primary key,
    -- IN: received and not understood or not applicable. OUT: an event that nobody takes.
    direction    text not null check (direction in ('IN', 'OUT')),
    -- The queue it came from, or the type of the event.
    source       text not null,
    -- Equal for the same message delivered again. Not unique: two messages may be alike to the byte, and both are kept.
    message_key  uuid not null,
    order_id     uuid,
    version      integer,
    reason_code  text not null,
    reason       text not null,
    body         bytea not null,
    headers      jsonb not null,
    first_seen_at timestamptz not null default now(),
    attempts     integer not null default 0,
    -- Set: tried again by itself at this time. Null: waits for an operator.
    retry_at     timestamptz
);
create index parked_messages_by_key on order_service.parked_messages (message_key);
create index parked_messages_by_retry on order_service.parked_messages (retry_at) where retry_at is not null;

-- Makes the monthly partitions from the current month to `months_ahead` months later. Safe to call at any time, by any
-- number of callers; the service needs no right to create tables, for it runs with the rights of the migrating role.
create function order_service.ensure_partitions(months_ahead integer) returns integer
    language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC' as $$
declare
    parent text;
    first_day timestamptz;
    partition_name text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('order_service.ensure_partitions'));
    foreach parent in array array['order_events', 'event_confirmations'] loop
        for month in 0..months_ahead loop
            first_day := date_trunc('month', now()) + make_interval(months => month);
            partition_name := parent || to_char(first_day, '_YYYY_MM');
            continue when to_regclass(format('order_service.%I', partition_name)) is not null;
            begin
                execute format('create table order_service.%I partition of order_service.%I for values from (%L) to (%L)',
                               partition_name, parent, first_day, first_day + interval '1 month');
                made := made + 1;
            exception when check_violation then
                -- That month has rows in the default partition already, and goes on there.
                raise notice '% stays in the default partition', partition_name;
            end;
        end loop;
    end loop;
    return made;
end
$$;
revoke all on function order_service.ensure_partitions(integer) from public;

-- Nothing is lost should a partition be missing.
create table order_service.order_events_default partition of order_service.order_events default;
create table order_service.event_confirmations_default partition of order_service.event_confirmations default;
select order_service.ensure_partitions(12);
