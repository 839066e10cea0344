-- A relay lives by its one row in `relays`, renewed several times a second; the buckets' rows change with their owners
-- only. Each renewal of 64 rows would leave 64 versions behind, and every mark, which looks at the epochs here, would
-- walk over all of them while a long transaction elsewhere stops vacuum.
--
-- `relay_leases.expires_at` is for a relay that nobody declared dead, as 0.1.0 never does: it looks at that column
-- alone. It is far ahead, and moved on long before it is reached.

-- name: stay
-- Says that this relay is alive and returns its leases, if all may stay as it is; else returns nothing: another relay is
-- dead, this one was, its share is wrong, or a lease nears its end.
-- What a statement reads is as it was at its beginning, also if it then waits for a lock. That is enough, since the row
-- decides: who frees this relay's buckets deletes it in the same transaction, before this statement, which then finds
-- none, or while it waits, and then nothing is updated. An insert would make the row anew, beside leases that are gone.
with alive as (
    update order_service.relays r set expires_at = now() + %(ttl_seconds)s * interval '1 second'
    where r.owner = %(owner)s and r.expires_at >= now()
    returning r.owner
), live as (
    select ceil(64.0 / nullif(count(*), 0))::integer as fair, min(r.expires_at) >= now() as all_of_them
    from order_service.relays r
), shares as (
    select count(*) filter (where l.owner = %(owner)s) as mine,
           min(l.expires_at) filter (where l.owner = %(owner)s) as ends_at,
           min(l.expires_at) < now() as some_are_free
    from order_service.relay_leases l
)
select l.bucket, l.epoch
from alive a
cross join live
cross join shares s
join order_service.relay_leases l on l.owner = a.owner
where live.all_of_them
    and s.ends_at >= now() + %(hold_seconds)s / 2 * interval '1 second'
    and (s.mine <= live.fair or not %(let_go)s)
    and (s.mine >= live.fair or not s.some_are_free)
order by l.bucket

-- name: beat
-- Says that this relay is alive. First of all in its transaction: who holds this row decides whether the relay is dead.
insert into order_service.relays (owner, expires_at)
values (%(owner)s, now() + %(ttl_seconds)s * interval '1 second')
on conflict (owner) do update set expires_at = excluded.expires_at

-- name: bury
-- Frees the buckets of relays that are dead, and forgets those. A relay that is just saying that it lives holds its row,
-- and is left alone; one that comes back after this waits for it, and then holds nothing.
with dead as (
    select r.owner from order_service.relays r
    where r.expires_at < now() and r.owner <> %(owner)s
    for update skip locked
), freed as (
    update order_service.relay_leases l set owner = null, expires_at = '-infinity' from dead d where l.owner = d.owner
)
delete from order_service.relays r using dead d where r.owner = d.owner

-- name: renew
-- Lets go of what is above this relay's fair share, if it may, and moves on what nears its end. A lease that ran out and
-- that nobody took is still its own, under the same epoch: what it published before PostgreSQL went away it can mark
-- afterwards.
with share as (
    select ceil(64.0 / count(*))::integer as fair from order_service.relays where expires_at >= now()
), mine as (
    select l.bucket, not %(let_go)s or row_number() over (order by l.bucket) <= s.fair as kept
    from order_service.relay_leases l, share s where l.owner = %(owner)s
)
update order_service.relay_leases l
set expires_at = case when m.kept then now() + %(hold_seconds)s * interval '1 second' else '-infinity' end,
    owner = case when m.kept then l.owner end
from mine m
where l.bucket = m.bucket and l.owner = %(owner)s
    and (not m.kept or l.expires_at < now() + %(hold_seconds)s / 2 * interval '1 second')

-- name: take
-- Takes leases that are free or have run out, up to the fair share. The epoch rises: late marks of the former owner fail.
with share as (
    select ceil(64.0 / count(*))::integer as fair from order_service.relays where expires_at >= now()
), free as (
    select l.bucket from order_service.relay_leases l, share s
    where l.expires_at < now()
    order by l.bucket
    limit greatest(0, (select fair from share) - (
        select count(*) from order_service.relay_leases where owner = %(owner)s))
    for update of l skip locked
)
update order_service.relay_leases l
set owner = %(owner)s, epoch = l.epoch + 1, expires_at = now() + %(hold_seconds)s * interval '1 second'
from free f where l.bucket = f.bucket

-- name: held
-- The leases that this relay holds.
select l.bucket, l.epoch from order_service.relay_leases l
where l.owner = %(owner)s and l.expires_at >= now()
order by l.bucket

-- name: release
-- Lets everything go, so that another relay can take over at once. The relay's own row first, as `bury` does.
with gone as (
    delete from order_service.relays where owner = %(owner)s returning 1
)
update order_service.relay_leases l set owner = null, expires_at = '-infinity'
from (select count(*) from gone) first
where l.owner = %(owner)s
