-- The items of an order are found within their index, without a look at the table.
--
-- A page of orders that lie scattered then reads two blocks for each, not three: itself and its place in the index of
-- items. The index grows by what an item holds, some 30 bytes; storing an item takes 4% more, 0.2 us.
--
-- Safe while 0.1.0 serves: the key stays what it was. The table is locked (ACCESS EXCLUSIVE) for as long as the index
-- takes to be made: 0.2 s at most, since a table above 16 MB is left as it is. There everything works as before, until
-- an operator makes the index without a lock; docs/operations.md says how. No other table is locked here.
--
-- Behind a long transaction it gives up after three seconds, with nothing done: run it again then.
set local lock_timeout = '3s';

do $$
begin
    if pg_relation_size('order_service.order_items') < 16 * 1024 * 1024 and exists (
        select from pg_index
        where indexrelid = 'order_service.order_items_pkey'::regclass and indnatts = indnkeyatts
    ) then
        alter table order_service.order_items
            drop constraint order_items_pkey,
            add constraint order_items_pkey primary key (order_id, line)
                include (product_id, quantity, unit_price_minor);
    end if;
end
$$;
