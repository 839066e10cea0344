# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# The dependencies by themselves, so that a change of the code does not fetch them again.
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip wheel --wheel-dir /wheels --requirement requirements.txt

COPY README.md LICENSE ./
COPY migrations ./migrations
COPY order_service ./order_service
RUN pip wheel --wheel-dir /wheels --no-deps . \
    && python -m venv /opt/order-service \
    && /opt/order-service/bin/pip install --no-index --find-links /wheels order-service \
    && /opt/order-service/bin/pip uninstall --yes pip setuptools


FROM python:3.11-slim

ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="order-service" \
      org.opencontainers.image.description="An order service: gRPC in, a saga over RabbitMQ, one outcome." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/order-service /opt/order-service

# Nothing is written but to standard output, so the root file system may be read-only.
ENV PATH=/opt/order-service/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# A number, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 50054 9004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["order-service", "health"]
ENTRYPOINT ["order-service"]
CMD ["api"]
