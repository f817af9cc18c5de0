#!/bin/bash
# Kubernetes runs this before it ends an executor (its preStop hook), as Apache Spark's decom.sh: it asks the executor's
# Java to hand over its blocks (SIGPWR), and waits until it has gone.
java_pid="$(pgrep -o -f '^[^ ]*java .*KubernetesExecutorBackend')" || exit 0
kill -s PWR "$java_pid" || exit 0
timeout 60 tail --pid="$java_pid" -f /dev/null || true
