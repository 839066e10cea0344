-- name: insert
-- Notes messages as handled; returns those that were not noted before. In the order of their keys, so that two batches
-- never wait for each other in a circle.
insert into order_service.inbox (consumer, message_key)
select %(consumer)s, k from unnest(%(message_keys)s::uuid[]) as k order by k
on conflict (consumer, message_key) do nothing
returning message_key

-- name: delete
-- Forgets messages that turned out not to have had their effect.
delete from order_service.inbox where consumer = %(consumer)s and message_key = any(%(message_keys)s)

-- name: delete_old
-- Forgets messages older than the window, some at a time.
delete from order_service.inbox
where ctid = any(array(
    select ctid from order_service.inbox
    where received_at < now() - %(keep_seconds)s * interval '1 second' limit %(limit)s))
returning 1
