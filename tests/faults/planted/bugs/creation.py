"""What goes wrong between a request and its answer."""

from tests.faults.planted import scenarios as play
from tests.faults.planted.planting import Edit, Planted

CREATE = "use_cases/create_orders.py"
CREATION = "api/order_creation.py"
SERVICER = "api/servicer.py"

OF_CREATION = (
    Planted(
        "The request_id is not looked at",
        play.every_path,
        (Edit(CREATE, "        if ask.new.request_id\n", "        if False\n"),),
    ),
    Planted(
        "The request_id is noted and a repeated one goes through",
        play.every_path,
        (Edit(CREATE, "    lost = [claim for claim in claims if claim.order_id not in won]", "    lost = []"),),
    ),
    Planted(
        "A repeated request is answered with the order as it is now",
        play.every_path,
        (Edit(CREATE, "known[holder.order_id].as_first_answered()", "known[holder.order_id]"),),
    ),
    Planted(
        "The request_id is claimed in a transaction of its own",
        play.killed_while_storing,
        (
            Edit(
                CREATION,
                "            results = await self._database.run(",
                "            from order_service.use_cases.create_orders import _claim_request_ids\n"
                "            await self._database.run(lambda work: _claim_request_ids(work, batch))\n"
                "            results = await self._database.run(",
            ),
        ),
    ),
    Planted(
        "An order is acknowledged before it has committed",
        play.killed_while_storing,
        (
            Edit(
                SERVICER,
                "        result = await self._with.creation.submit(self._to_create(request, current_traceparent()))\n",
                "        import asyncio\n"
                "        from order_service.use_cases.create_orders import _order\n"
                "        asked = self._to_create(request, current_traceparent())\n"
                "        self.__dict__.setdefault('later', []).append(\n"
                "            asyncio.ensure_future(self._with.creation.submit(asked)))\n"
                "        result = _order(asked)\n",
            ),
        ),
    ),
    Planted(
        "An order and its event are written in two transactions",
        play.killed_while_storing,
        (
            Edit(
                CREATE,
                "    await unit_of_work.events.append([_order_created(ask, order) for ask, order in orders])\n",
                "",
            ),
            Edit(
                CREATION,
                "        created = sum(is_new for _, is_new in results)\n",
                "        from order_service.use_cases.create_orders import _order_created\n"
                "        events = [\n"
                "            _order_created(ask, order)\n"
                "            for ask, (order, is_new) in zip(batch, results, strict=True) if is_new\n"
                "        ]\n"
                "        await self._database.run(lambda work: work.events.append(events))\n"
                "        created = sum(is_new for _, is_new in results)\n",
            ),
        ),
    ),
    Planted(
        "An order is stored without its event",
        play.every_path,
        (
            Edit(
                CREATE,
                "    await unit_of_work.events.append([_order_created(ask, order) for ask, order in orders])\n",
                "",
            ),
        ),
    ),
    Planted(
        "Callers of a batch get each other's answers",
        play.crowd,
        (
            Edit(
                "api/batching.py",
                "            for (_, future), result in zip(batch, results, strict=True):",
                "            for (_, future), result in zip(batch, results[::-1], strict=True):",
            ),
        ),
    ),
    Planted(
        "A transaction whose outcome is not known is tried again under new ids",
        play.the_answer_to_commit_is_lost,
        (
            Edit(
                CREATION,
                "lambda work: create_orders(work, batch, self._timeouts)",
                "lambda work: create_orders(\n"
                "                work,\n"
                "                [\n"
                '                    __import__("dataclasses").replace(\n'
                '                        ask, order_id=__import__("uuid_utils.compat").compat.uuid7(),\n'
                '                        event_id=__import__("uuid_utils.compat").compat.uuid7())\n'
                "                    for ask in batch\n"
                "                ],\n"
                "                self._timeouts)",
            ),
        ),
    ),
)
