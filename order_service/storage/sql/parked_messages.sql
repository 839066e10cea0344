-- name: insert
-- Parks received messages. One that is delivered again and was parked the first time is not parked twice.
insert into order_service.parked_messages
    (direction, source, message_key, order_id, reason_code, reason, body, headers, retry_at)
select 'IN', r.source, r.message_key, r.order_id, r.reason_code, r.reason, decode(r.body, 'base64'), r.headers,
       now() + r.retry_seconds * interval '1 second'
from json_to_recordset(%(rows)s::json) as r (
    source text, message_key uuid, order_id uuid, reason_code text, reason text, body text, headers jsonb,
    retry_seconds double precision, redelivered boolean)
where not (r.redelivered and exists (
    select from order_service.parked_messages p
    where p.direction = 'IN' and p.source = r.source and p.message_key = r.message_key))
returning reason_code

-- name: claim_due
-- Messages to try again, locked until the transaction ends.
select p.parked_id, p.source, p.message_key, p.body, p.headers, p.attempts,
       extract(epoch from now() - p.first_seen_at)::double precision
from order_service.parked_messages p
where p.retry_at <= now()
order by p.retry_at
limit %(limit)s
for update skip locked

-- name: postpone
-- Tried again without success: when next, or null to leave it to an operator.
update order_service.parked_messages p
set attempts = p.attempts + 1, retry_at = now() + r.retry_seconds * interval '1 second',
    reason_code = r.reason_code, reason = r.reason
from json_to_recordset(%(rows)s::json) as r (
    parked_id bigint, retry_seconds double precision, reason_code text, reason text)
where p.parked_id = r.parked_id

-- name: delete
-- Removes messages that have been handled or discarded.
delete from order_service.parked_messages where parked_id = any(%(parked_ids)s)
returning 1

-- name: redrive
-- Makes a received message due for another try, as if it had just come.
update order_service.parked_messages p set retry_at = now(), attempts = 0, first_seen_at = now()
where p.parked_id = %(parked_id)s

-- name: page
-- Parked messages above an id, oldest first, without their bodies.
select p.parked_id, p.direction, p.source, p.order_id, p.version, p.reason_code, p.reason, length(p.body),
       p.first_seen_at, p.attempts, p.retry_at
from order_service.parked_messages p
where p.parked_id > %(above)s
order by p.parked_id
limit %(limit)s

-- name: get
-- One parked message, whole; locked, so that it is not retried meanwhile.
select p.parked_id, p.direction, p.source, p.order_id, p.version, p.reason_code, p.reason, length(p.body),
       p.first_seen_at, p.attempts, p.retry_at, p.body, p.headers
from order_service.parked_messages p
where p.parked_id = %(parked_id)s
for update

-- name: count
-- How many wait for an operator, and how many are being retried.
select count(*) filter (where p.retry_at is null), count(*) filter (where p.retry_at is not null)
from order_service.parked_messages p
