-- name: insert
-- Claims idempotency keys; returns those that were free. Waits for a transaction that has claimed one and is still
-- running. In the order of the keys, so that two batches never wait for each other in a circle.
insert into order_service.create_requests (user_id, request_id, fingerprint, order_id)
select user_id, request_id, fingerprint, order_id
from json_to_recordset(%(rows)s::json) as r (user_id text, request_id text, fingerprint text, order_id uuid)
order by user_id, request_id
on conflict (user_id, request_id) do nothing
returning order_id

-- name: get
-- What keys stand for.
select c.user_id, c.request_id, c.fingerprint, c.order_id
from json_to_recordset(%(rows)s::json) as r (user_id text, request_id text)
join order_service.create_requests c on c.user_id = r.user_id and c.request_id = r.request_id

-- name: delete_old
-- Forgets keys older than the window, some at a time.
delete from order_service.create_requests
where ctid = any(array(
    select ctid from order_service.create_requests
    where created_at < now() - %(keep_seconds)s * interval '1 second' limit %(limit)s))
returning 1
