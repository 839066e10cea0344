-- name: fetch_due
-- What may be sent now from leased buckets: for each order only its earliest unsent event, so that one that is held
-- back holds back the later ones of its order and of no other. `since` is where the last look at a bucket ended: it
-- spares walking over rows that are deleted and not yet vacuumed. Not taken since: the first failed try, or since an
-- operator redrove it, whichever is later.
-- Compared as a pair: of two bounds on one column PostgreSQL expects that hardly anything lies between them, and with a
-- long backlog sorts a whole bucket for each look.
-- Ends with the event that reaches `most_bytes`. How long a payload is tells its header: none is read for that.
select w.order_id, w.version, w.bucket, w.event_id, w.type, w.occurred_at, w.traceparent, w.payload, w.attempts,
       w.due_at, case when w.first_failed_at is null then interval '0' else
           now() - greatest(w.first_failed_at, w.enqueued_at) end
from (
    select o.*, sum(octet_length(o.payload)) over (rows between unbounded preceding and 1 preceding) as bytes_before
    from json_to_recordset(%(buckets)s::json) as b (bucket smallint, since timestamptz)
    cross join lateral (
        select * from order_service.outbox o
        where o.bucket = b.bucket and (o.bucket, o.due_at) >= (b.bucket, b.since) and o.due_at <= now()
            and not exists (
                select from order_service.outbox e where e.order_id = o.order_id and e.version < o.version)
        order by o.due_at
        limit %(per_bucket)s
    ) o
) w
where coalesce(w.bytes_before, 0) < %(most_bytes)s
limit %(limit)s

-- name: mark_sent
-- Removes what the broker has taken responsibility for, and notes when. Fenced: a relay whose lease has passed to
-- another marks nothing.
with sent as (
    delete from order_service.outbox o
    using json_to_recordset(%(rows)s::json) as r (order_id uuid, version integer, bucket smallint, epoch bigint),
          order_service.relay_leases l
    where o.order_id = r.order_id and o.version = r.version
        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch
    returning o.order_id, o.version
)
insert into order_service.event_confirmations (order_id, version, confirmed_at)
select order_id, version, now() from sent
returning 1

-- name: mark_failed
-- Holds back what the broker gave back or refused, and notes when that began. Fenced like mark_sent.
update order_service.outbox o
set attempts = o.attempts + 1, last_failure = r.failure, due_at = now() + r.delay_seconds * interval '1 second',
    first_failed_at = coalesce(o.first_failed_at, now())
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, version integer, bucket smallint, epoch bigint, failure text, delay_seconds double precision),
    order_service.relay_leases l
where o.order_id = r.order_id and o.version = r.version
    and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch

-- name: park
-- Hands what nobody has taken for long to the operator. The row stays, not due, and holds back its order's later events.
-- One that is parked already (a mark whose COMMIT was not heard of) is not parked again.
with parked as (
    update order_service.outbox o
    set attempts = o.attempts + 1, last_failure = r.failure, due_at = 'infinity'
    from json_to_recordset(%(rows)s::json) as r (
        order_id uuid, version integer, bucket smallint, epoch bigint, failure text),
        order_service.relay_leases l
    where o.order_id = r.order_id and o.version = r.version
        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch
        and o.due_at < 'infinity'
    returning o.order_id, o.version, o.event_id, o.type, o.payload, o.attempts, o.last_failure, o.enqueued_at
)
insert into order_service.parked_messages
    (direction, source, message_key, order_id, version, reason_code, reason, body, headers, first_seen_at, attempts)
select 'OUT', type, event_id, order_id, version, 'NOT_TAKEN', last_failure, convert_to(payload, 'UTF8'), '{}',
       enqueued_at, attempts
from parked

-- name: unpark
-- Makes a parked event due again.
update order_service.outbox o set due_at = now(), attempts = 0, enqueued_at = now(), first_failed_at = null
where o.order_id = %(order_id)s and o.version = %(version)s and o.due_at = 'infinity'

-- name: discard
-- Gives up sending a parked event. It stays in the history.
delete from order_service.outbox o
where o.order_id = %(order_id)s and o.version = %(version)s and o.due_at = 'infinity'

-- name: unsent_of_order
-- What of one order has not reached the broker yet.
select o.type, o.version, o.attempts, nullif(o.due_at, 'infinity'), o.last_failure
from order_service.outbox o where o.order_id = %(order_id)s order by o.version

-- name: backlog
-- How much is still to be sent, up to 100,000, and the age of the oldest in seconds; parked events are not counted.
select count(*), coalesce(extract(epoch from now() - min(b.enqueued_at)), 0)::double precision
from (select o.enqueued_at from order_service.outbox o where o.due_at < 'infinity' limit 100000) b
