#!/bin/bash
# EMR starts a container with a role, or with any command. What each role gets is as in Apache Spark's own entry point
# (resource-managers/kubernetes/docker/src/main/dockerfiles/spark/entrypoint.sh).
set -e

class_path="${SPARK_CONF_DIR:-/usr/lib/spark/conf}${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}:/usr/lib/spark/jars/*"
class_path+="${SPARK_EXTRA_CLASSPATH:+:$SPARK_EXTRA_CLASSPATH}"

case "$1" in
  driver)
    shift
    set -- spark-submit --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
      --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" --deploy-mode client "$@"
    ;;
  executor)
    # Spark hands over the options of Java one by one: SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, … The driver's address, the
    # ports and whether to authenticate are among them.
    java_options=()
    while IFS= read -r name; do
      java_options+=("${!name}")
    done < <(compgen -e SPARK_JAVA_OPT_ | sort -t _ -k 4 -n)
    set -- "$JAVA_HOME/bin/java" "${java_options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
      -cp "$class_path" org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
      --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
      --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
      --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
  job)
    shift
    set -- spark-submit "$@"
    ;;
esac
exec /usr/bin/tini -s -- "$@"
