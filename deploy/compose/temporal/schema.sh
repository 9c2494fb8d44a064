#!/bin/sh
# Creates Temporal's two databases and brings their schemas up to the version of this image. Every step leaves alone what
# is there already, so it runs again at each start and after each change of version. SQL_HOST, SQL_PORT, SQL_USER,
# SQL_PASSWORD and SQL_PLUGIN come from the environment.
set -eu

versions=${TEMPORAL_SCHEMA:-/etc/temporal/schema}/postgresql/v12

for store in temporal:temporal temporal_visibility:visibility; do
	database=${store%:*}
	folder=${store#*:}
	temporal-sql-tool --db "$database" create
	temporal-sql-tool --db "$database" setup-schema --version 0.0
	temporal-sql-tool --db "$database" update-schema --schema-dir "$versions/$folder/versioned"
done
