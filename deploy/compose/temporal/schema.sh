#!/bin/sh
# Creates Temporal's two databases and brings their schemas up to the version of temporal-sql-tool, which carries them.
# Every step leaves alone what is there already, so it runs again at each start and after each change of version.
# SQL_HOST, SQL_PORT, SQL_USER, SQL_PASSWORD and SQL_PLUGIN come from the environment.
set -eu

for store in temporal:temporal temporal_visibility:visibility; do
	database=${store%:*}
	schema=postgresql/v12/${store#*:}
	temporal-sql-tool --db "$database" create
	temporal-sql-tool --db "$database" setup-schema --version 0.0
	temporal-sql-tool --db "$database" update-schema --schema-name "$schema"
done
