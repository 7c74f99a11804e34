# PostgreSQL 17 with pg_partman for the test cluster: programs, user and paths as in the official image, so that one manifest fits both.
FROM docker.io/library/debian:trixie-slim
RUN groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres
# The package would otherwise make and start a server of its own.
RUN mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
    && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        postgresql-17 postgresql-17-partman \
    && rm -rf /var/lib/apt/lists/* && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data /var/run/postgresql
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
USER 999:999
