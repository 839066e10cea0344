-- name: append
-- Adds events to the history and, those that are new to it, to the outbox.
with r as (
    select * from json_to_recordset(%(rows)s::json) as r (
        order_id uuid, version integer, event_id uuid, user_id text, type text, status text, occurred_at timestamptz,
        traceparent text, payload text, bucket smallint)
), history as (
    insert into order_service.order_events
        (order_id, version, event_id, user_id, type, status, occurred_at, traceparent, payload)
    select order_id, version, event_id, user_id, type, status, occurred_at, traceparent, payload from r
    on conflict (order_id, version, occurred_at) do nothing
    returning order_id, version
)
insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, traceparent, payload)
select r.order_id, r.version, r.bucket, r.event_id, r.type, r.occurred_at, r.traceparent, r.payload
from r join history h on h.order_id = r.order_id and h.version = r.version

-- name: page
-- An order's history above a version, oldest first. `since` (the order's creation) leaves older partitions out.
select e.event_id, e.type, e.version, e.status, e.occurred_at, e.payload,
       (select min(c.confirmed_at) from order_service.event_confirmations c
        where c.order_id = e.order_id and c.version = e.version
            and c.confirmed_at >= %(since)s::timestamptz - interval '1 hour')
from order_service.order_events e
where e.order_id = %(order_id)s and e.occurred_at >= %(since)s and e.version > %(above)s
order by e.version
limit %(limit)s

-- name: changes
-- What has happened to watched orders above the versions their watchers have seen.
select e.order_id, e.version, e.status, e.occurred_at
from json_to_recordset(%(rows)s::json) as w (order_id uuid, version integer, since timestamptz)
join order_service.order_events e
    on e.order_id = w.order_id and e.version > w.version and e.occurred_at >= w.since
order by e.order_id, e.version

-- name: replay
-- The history from a cursor on, for publishing again: in version order for each order. `after_time` is said
-- twice for the sake of the index. Ends with the event that reaches `most_bytes`.
select w.order_id, w.version, w.event_id, w.type, w.occurred_at, w.traceparent, w.payload
from (
    select l.*, sum(octet_length(l.payload)) over (
        order by l.occurred_at, l.order_id, l.version rows between unbounded preceding and 1 preceding) as bytes_before
    from (
        select * from order_service.order_events e
        where e.occurred_at >= %(after_time)s and e.occurred_at < %(until_time)s
            and e.type = any(%(types)s)
            and (e.occurred_at, e.order_id, e.version) > (%(after_time)s, %(after_order_id)s, %(after_version)s)
        order by e.occurred_at, e.order_id, e.version
        limit %(limit)s
    ) l
) w
where coalesce(w.bytes_before, 0) < %(most_bytes)s
order by w.occurred_at, w.order_id, w.version

-- name: count_replay
-- How many events of each type a range of the history holds.
select e.type, count(*)
from order_service.order_events e
where e.occurred_at >= %(from_time)s and e.occurred_at < %(until_time)s and e.type = any(%(types)s)
group by e.type

-- name: ensure_partitions
-- Makes the monthly partitions of the history that are missing.
select order_service.ensure_partitions(%(months_ahead)s)
