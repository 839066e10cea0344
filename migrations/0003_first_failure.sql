-- An event counts as not taken from its first failed try on.
--
-- Safe while 0.1.0 serves: it neither reads nor writes the new column, which changes the catalogue only, under a lock
-- (ACCESS EXCLUSIVE) that is held for milliseconds. Behind a long transaction it gives up after three seconds, with
-- nothing done: run it again then.
set local lock_timeout = '3s';

-- When the broker first gave the event back or refused it, by this database's clock; null before that. What matters is
-- the later of this and enqueued_at: 0.1.0 makes an event wait anew by setting the latter alone.
alter table order_service.outbox add column if not exists first_failed_at timestamptz;
