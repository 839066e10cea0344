-- name: insert
-- Starts sagas. The deadline is counted by the database's clock.
insert into order_service.sagas (order_id, state, steps, started_at, asked_at, deadline_at, traceparent)
select order_id, 'RUNNING', steps, now(), now(), now() + timeout_seconds * interval '1 second', traceparent
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, steps jsonb, timeout_seconds double precision, traceparent text)
on conflict (order_id) do nothing

-- name: update
-- Writes how far sagas have come. Their orders are locked.
update order_service.sagas s
set state = r.state, steps = r.steps, asked_at = r.asked_at, deadline_at = r.deadline_at
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, state text, steps jsonb, asked_at timestamptz, deadline_at timestamptz)
where s.order_id = r.order_id

-- name: longest_due
-- Sagas whose deadline has passed, longest overdue first. Unlocked: who acts on one locks its order and looks again.
select s.order_id from order_service.sagas s
where s.deadline_at <= now()
order by s.deadline_at
limit %(limit)s

-- name: last_due
-- The same, from the other end: those that have just become due.
select s.order_id from order_service.sagas s
where s.deadline_at <= now()
order by s.deadline_at desc
limit %(limit)s

-- name: postpone
-- Moves the deadline of sagas that could not be dealt with, each by as long as it has waited for its answer already,
-- between the bounds.
update order_service.sagas s
set deadline_at = now() + greatest(%(least_seconds)s, least(%(most_seconds)s,
    extract(epoch from now() - coalesce(s.asked_at, s.started_at)))) * interval '1 second'
where s.order_id = any(%(order_ids)s) and s.deadline_at <= now()
returning 1

-- name: get
-- One saga, with the database's clock.
select s.order_id, s.state, s.steps, s.asked_at, s.deadline_at, now()
from order_service.sagas s where s.order_id = %(order_id)s
