"""The limits: what the same libraries do when they do nothing else.

Each is a process of its own that does one thing with plain aio-pika and psycopg, as their documentation shows it, on
the servers that the service has: the same bytes, properties, exchanges and kinds of queue. It reads where they are from
the environment (RABBITMQ_URL, DATABASE_URL), ends by itself, and says what it measured as JSON in its last line. Any
failure ends it with a traceback and exit code 1.
"""
