#!/bin/bash
# EMR starts a container with a role, or with any command.
case "$1" in
  driver)
    shift
    set -- spark-submit --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" --deploy-mode client "$@"
    ;;
  executor)
    set -- "$JAVA_HOME/bin/java" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "/usr/lib/spark/jars/*" \
      org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
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
