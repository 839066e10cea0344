-- Replaying a part of the history reads only that part.
--
-- Safe while 0.1.0 serves: it neither reads nor writes what is added here, and every lock that one of its statements
-- has to wait for is held for milliseconds. In order, and all of it held to the end of this one transaction:
--
-- 1. Partitions of other months are indexed under a SHARE lock, for as long as it takes to read them through (a few
--    seconds for each GB). Nobody writes to them.
-- 2. The history as a whole is locked (SHARE), so that nobody writes to it from here on. Whoever writes to a partition
--    has locked the whole before: the other way round, a writer and this migration could wait for each other.
-- 3. Partitions that are written to, the one of this month and the default one, are indexed in the same way if they are
--    below 128 MB (0.1 s). A larger one is left as it is: its orders would wait. Its part of the history is read in
--    full, as before, until an operator makes its index without a lock; docs/operations.md says how. The partitions of
--    the months to come get theirs when they are made, while they are empty.
-- 4. The index of the whole history changes the catalogue only.
--
-- No other table is locked here, for the same reason: a writer locks the history and the outbox in no order to rely on.
--
-- Behind a long transaction it gives up after three seconds, with nothing done, instead of making everybody queue: run
-- it again then. What it finds done (an index that an operator made, say) it leaves alone.
set local lock_timeout = '3s';

do $$
declare
    written_to constant text[] := array['order_events_default',
                                        'order_events' || to_char(now() at time zone 'UTC', '_YYYY_MM')];
    part record;
begin
    for part in
        select c.relname as name, c.relname || '_occurred_at_idx' as index_name,
               c.relname = any (written_to) as is_written
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'order_service.order_events'::regclass
            and (c.relname <> all (written_to) or pg_relation_size(c.oid) < 128 * 1024 * 1024)
        order by is_written, c.relname
    loop
        if part.is_written then
            lock table only order_service.order_events in share mode;
        end if;
        execute format('create index if not exists %I on order_service.%I using brin (occurred_at)
                        with (pages_per_range = 16, autosummarize = on)', part.index_name, part.name);
    end loop;

    -- Events come in the order of time, so a few bytes for each 128 kB of them are enough to find a part of it.
    create index if not exists order_events_by_time on only order_service.order_events using brin (occurred_at)
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
