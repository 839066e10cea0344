-- name: beat
-- Says that this relay is alive, and forgets those that are not.
with gone as (delete from order_service.relays where expires_at < now() and owner <> %(owner)s)
insert into order_service.relays (owner, expires_at)
values (%(owner)s, now() + %(ttl_seconds)s * interval '1 second')
on conflict (owner) do update set expires_at = excluded.expires_at

-- name: renew
-- Extends this relay's leases, but for those above its fair share, which it lets go if it may. One that ran out and
-- that nobody took is still its own, under the same epoch: what it published before PostgreSQL went away it can mark
-- afterwards.
with share as (
    select ceil(64.0 / count(*))::integer as fair from order_service.relays where expires_at >= now()
), mine as (
    select l.bucket, not %(let_go)s or row_number() over (order by l.bucket) <= s.fair as kept
    from order_service.relay_leases l, share s where l.owner = %(owner)s
)
update order_service.relay_leases l
set expires_at = case when m.kept then now() + %(ttl_seconds)s * interval '1 second' else '-infinity' end,
    owner = case when m.kept then l.owner end
from mine m
where l.bucket = m.bucket and l.owner = %(owner)s

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
set owner = %(owner)s, epoch = l.epoch + 1, expires_at = now() + %(ttl_seconds)s * interval '1 second'
from free f where l.bucket = f.bucket

-- name: held
-- The leases that this relay holds.
select l.bucket, l.epoch from order_service.relay_leases l
where l.owner = %(owner)s and l.expires_at >= now()
order by l.bucket

-- name: release
-- Lets everything go, so that another relay can take over at once.
with gone as (delete from order_service.relays where owner = %(owner)s)
update order_service.relay_leases l set owner = null, expires_at = '-infinity' where l.owner = %(owner)s
