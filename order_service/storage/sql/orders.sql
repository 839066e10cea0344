-- name: insert
-- Stores new orders. One that is there already (an attempt whose COMMIT was not heard of) is left as it is.
insert into order_service.orders
    (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
select order_id, user_id, currency, total_minor, status, version, created_at, created_at
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, user_id text, currency text, total_minor bigint, status text, version integer,
    created_at timestamptz)
on conflict (order_id) do nothing

-- name: insert_items
-- Stores the items of new orders.
insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
select order_id, line, product_id, quantity, unit_price_minor
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, line smallint, product_id text, quantity integer, unit_price_minor bigint)
on conflict (order_id, line) do nothing

-- name: get
-- Orders by id, each with its items.
select o.order_id, o.user_id, o.currency, o.total_minor, o.status, o.version, o.created_at, o.updated_at,
       o.reason_code, o.reason,
       (select json_agg(json_build_array(i.product_id, i.quantity, i.unit_price_minor) order by i.line)
        from order_service.order_items i where i.order_id = o.order_id)
from order_service.orders o
where o.order_id = any(%(order_ids)s)

-- name: page_of_user
-- A user's orders with their items, newest first, from below a cursor. Stops at `most` of them, with the order that
-- brings the answer to `most_bytes`, or when it has looked at `scan` orders: in the latter two cases the last row says
-- where that was, and a page may be short. All in one: a look at ids first, and then at the orders, would go through the
-- index of all orders once more, a block for each that nothing else needs.
with page as materialized (
    select s.* from (
        select o.* from order_service.orders o
        where o.user_id = %(user_id)s and o.order_id < %(below)s
        order by o.order_id desc limit %(scan)s
    ) s
    where s.status = any(%(statuses)s)
    order by s.order_id desc limit %(most)s
), sized as materialized (
    select p.*, i.items,
           coalesce(
               sum(%(order_bytes)s + octet_length(p.user_id) + coalesce(octet_length(p.reason), 0) + i.bytes)
                   over (order by p.order_id desc rows between unbounded preceding and 1 preceding),
               0) < %(most_bytes)s as fits
    from page p cross join lateral (
        select json_agg(json_build_array(i.product_id, i.quantity, i.unit_price_minor) order by i.line) as items,
               coalesce(sum(%(item_bytes)s + octet_length(i.product_id)), 0) as bytes
        from order_service.order_items i where i.order_id = p.order_id
    ) i
), stopped_at as (
    (select o.order_id from order_service.orders o
     where o.user_id = %(user_id)s and o.order_id < %(below)s and (select count(*) from page) < %(most)s
         and not exists (select from sized u where not u.fits)
     order by o.order_id desc limit 1 offset %(scan)s - 1)
    union all
    (select s.order_id from sized s where s.fits and exists (select from sized u where not u.fits)
     order by s.order_id limit 1)
)
select s.order_id, s.user_id, s.currency, s.total_minor, s.status, s.version, s.created_at, s.updated_at,
       s.reason_code, s.reason, s.items, true as is_wanted
from sized s
where s.fits
union all
select l.order_id, null, null, null, null, null, null, null, null, null, null, false from stopped_at l
order by is_wanted desc, order_id desc

-- name: page_of_all
-- The same for all users' orders. Apart from a user's: with a condition that may be off, one prepared plan would have to
-- serve both.
with page as materialized (
    select s.* from (
        select o.* from order_service.orders o
        where o.order_id < %(below)s
        order by o.order_id desc limit %(scan)s
    ) s
    where s.status = any(%(statuses)s)
    order by s.order_id desc limit %(most)s
), sized as materialized (
    select p.*, i.items,
           coalesce(
               sum(%(order_bytes)s + octet_length(p.user_id) + coalesce(octet_length(p.reason), 0) + i.bytes)
                   over (order by p.order_id desc rows between unbounded preceding and 1 preceding),
               0) < %(most_bytes)s as fits
    from page p cross join lateral (
        select json_agg(json_build_array(i.product_id, i.quantity, i.unit_price_minor) order by i.line) as items,
               coalesce(sum(%(item_bytes)s + octet_length(i.product_id)), 0) as bytes
        from order_service.order_items i where i.order_id = p.order_id
    ) i
), stopped_at as (
    (select o.order_id from order_service.orders o
     where o.order_id < %(below)s and (select count(*) from page) < %(most)s
         and not exists (select from sized u where not u.fits)
     order by o.order_id desc limit 1 offset %(scan)s - 1)
    union all
    (select s.order_id from sized s where s.fits and exists (select from sized u where not u.fits)
     order by s.order_id limit 1)
)
select s.order_id, s.user_id, s.currency, s.total_minor, s.status, s.version, s.created_at, s.updated_at,
       s.reason_code, s.reason, s.items, true as is_wanted
from sized s
where s.fits
union all
select l.order_id, null, null, null, null, null, null, null, null, null, null, false from stopped_at l
order by is_wanted desc, order_id desc

-- name: lock
-- Locks orders until the transaction ends. Always in the order of their ids, so that two batches never wait for each
-- other in a circle. Only locks: a join here would give an order as it is after the wait with its saga as it was before.
select o.order_id from order_service.orders o
where o.order_id = any(%(order_ids)s)
order by o.order_id
for no key update

-- name: locked
-- Orders that this transaction has locked, with their sagas. `now` is the database's clock: deadlines are compared with
-- it.
select o.order_id, o.user_id, o.currency, o.total_minor, o.status, o.version, o.created_at, o.updated_at,
       o.reason_code, o.reason, s.state, s.steps, s.asked_at, s.deadline_at, s.traceparent, now()
from order_service.orders o
join order_service.sagas s on s.order_id = o.order_id
where o.order_id = any(%(order_ids)s)

-- name: update
-- Writes what has become of orders, each only if it still has the version that was locked.
update order_service.orders o
set status = r.status, reason_code = r.reason_code, reason = r.reason, version = r.version, updated_at = r.updated_at
from json_to_recordset(%(rows)s::json) as r (
    order_id uuid, status text, reason_code text, reason text, version integer, updated_at timestamptz,
    locked_version integer)
where o.order_id = r.order_id and o.version = r.locked_version

-- name: items
-- The items of orders, in the order of their lines.
select i.order_id, i.product_id, i.quantity, i.unit_price_minor
from order_service.order_items i
where i.order_id = any(%(order_ids)s)
order by i.order_id, i.line
