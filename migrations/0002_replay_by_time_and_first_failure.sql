-- Replaying a part of the history reads only that part, and an event counts as not taken from its first failed try on.
--
-- Safe while 0.1.0 serves: it neither reads nor writes what is added here, and every lock that one of its statements
-- has to wait for is held for milliseconds. In order, and all of it held to the end of this one transaction:
--
-- 1. Partitions of other months are indexed under a SHARE lock, for as long as it takes to read them through (a few
--    seconds for each GB). Nobody writes to them.
-- 2. Partitions that are written to, the one of this month and the default one, are indexed in the same way if they are
--    below 128 MB (0.1 s). A larger one is left as it is: its orders would wait. Its part of the history is read in
--    full, as before, until an operator makes its index without a lock; docs/operations.md says how. The partitions of
--    the months to come get theirs when they are made, while they are empty.
-- 3. The index of the whole history (SHARE) and the new column (ACCESS EXCLUSIVE) change the catalogue only.
--
-- Behind a long transaction it gives up after three seconds, with nothing done, instead of making everybody queue: run
-- it again then.
set local lock_timeout = '3s';

do $$
declare
    written_to constant text[] := array['order_events_default',
                                        'order_events' || to_char(now() at time zone 'UTC', '_YYYY_MM')];
    part record;
begin
    for part in
        select c.relname as name, c.relname || '_occurred_at_idx' as index_name
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'order_service.order_events'::regclass
            and (c.relname <> all (written_to) or pg_relation_size(c.oid) < 128 * 1024 * 1024)
        -- Those that are written to come last: their writers wait from then on.
        order by c.relname = any (written_to), c.relname
    loop
        execute format('create index %I on order_service.%I using brin (occurred_at)
                        with (pages_per_range = 16, autosummarize = on)', part.index_name, part.name);
    end loop;

    -- Events come in the order of time, so a few bytes for each 128 kB of them are enough to find a part of it.
    create index order_events_by_time on only order_service.order_events using brin (occurred_at)
        with (pages_per_range = 16, autosummarize = on);
    for part in
        select x.relname as index_name
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        join pg_class x on x.relname = c.relname || '_occurred_at_idx' and x.relnamespace = c.relnamespace
        where i.inhparent = 'order_service.order_events'::regclass
    loop
        execute format('alter index order_service.order_events_by_time attach partition order_service.%I',
                       part.index_name);
    end loop;
end
$$;

-- When the broker first gave the event back or refused it, by this database's clock; null before that. What matters is
-- the later of this and enqueued_at: 0.1.0 makes an event wait anew by setting the latter alone.
alter table order_service.outbox add column first_failed_at timestamptz;
