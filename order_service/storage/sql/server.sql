-- name: identity
-- Who answers, as whom we are known there, and what time it is there.
select current_setting('server_version_num')::integer, pg_is_in_recovery(), r.rolname::text, r.rolsuper,
       pg_has_role(r.oid, 'pg_monitor', 'usage'), coalesce(s.ssl, false),
       extract(epoch from clock_timestamp())::double precision
from pg_roles r left join pg_stat_ssl s on s.pid = pg_backend_pid()
where r.rolname = current_user

-- name: settings
-- What settings are in this session, in words and in their base unit, and where each comes from.
select name, current_setting(name), setting, source from pg_settings where name = any(%(names)s)

-- name: standbys
-- The standbys that are connected: name, and 'sync', 'quorum', 'potential' or 'async'; empty if this role may not see.
select coalesce(application_name, ''), coalesce(sync_state, '') from pg_stat_replication

-- name: idle_slots
-- Replication slots that nobody reads, or that have lost what they should have kept: name and state of the WAL.
select slot_name::text, coalesce(wal_status, '') from pg_replication_slots
where not active or wal_status in ('unreserved', 'lost')

-- name: oldest_transactions
-- Seconds since the oldest prepared and the oldest running transaction began; 0 if there is none.
select coalesce((select extract(epoch from now() - min(prepared)) from pg_prepared_xacts), 0)::double precision,
       coalesce((select extract(epoch from now() - min(xact_start)) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()), 0)::double precision

-- name: rights
-- The tables of the service, and whether this role may select, insert, update and delete there.
select c.relname::text, has_table_privilege(c.oid, 'select'), has_table_privilege(c.oid, 'insert'),
       has_table_privilege(c.oid, 'update'), has_table_privilege(c.oid, 'delete')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'order_service' and c.relkind in ('r', 'p') and not c.relispartition
order by c.relname

-- name: may_make_partitions
-- Whether this role may call ensure_partitions.
select has_function_privilege(p.oid, 'execute') and has_schema_privilege(n.oid, 'usage')
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'order_service' and p.proname = 'ensure_partitions'

-- name: missing_partitions
-- The monthly partitions of the history, of this month and the next, that are not there.
select wanted.name
from (select parent || to_char(month, '_YYYY_MM') as name
      from unnest(array['order_events', 'event_confirmations']) as parent,
           generate_series(date_trunc('month', now() at time zone 'UTC'),
                           date_trunc('month', now() at time zone 'UTC') + interval '1 month',
                           interval '1 month') as month) as wanted
where not exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'order_service' and c.relname = wanted.name and c.relispartition)
order by wanted.name
