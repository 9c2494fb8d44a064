#!/bin/sh
# Creates the namespace, unless it is there. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE come from the environment; the
# command line reads both by itself.
set -eu

tries=30
until temporal operator cluster health; do
	tries=$((tries - 1))
	if [ "$tries" -eq 0 ]; then
		echo "Temporal at $TEMPORAL_ADDRESS is not healthy" >&2
		exit 1
	fi
	sleep 1
done

temporal operator namespace describe >/dev/null 2>&1 ||
	temporal operator namespace create --retention "${TEMPORAL_RETENTION:-72h}"
