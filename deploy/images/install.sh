#!/bin/bash
# The steps that the images of all services share; used by services/*/Dockerfile, from /src.
#   locked NAME         two environments: /opt/build makes wheels, /opt/visema goes into the image and holds no pip
#   torch NAME          the neural engines' packages and torch of the build that TORCH_BUILD names (none|cpu|cuda)
#   packages FOLDER...  our own packages, without their tests
set -euo pipefail

install_locked() {
  /opt/build/bin/pip --python /opt/visema/bin/python install --quiet --require-hashes --no-deps --only-binary :all: \
    -r "deploy/locks/$1.txt"
}

locked() {
  python -m venv /opt/build
  /opt/build/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: -r deploy/locks/build.txt
  python -m venv --without-pip /opt/visema
  install_locked "$1"
}

# Stop a build whose torch is not the one that was asked for. Arguments: TORCH_BUILD, what torch.version.cuda says or cpu.
check_torch() {
  if [ "$1" = cpu ] && [ "$2" != cpu ]; then
    echo "torch is built for CUDA $2: set TORCH_INDEX_URL" >&2
    return 1
  elif [ "$1" = cuda ] && [ "$2" = cpu ]; then
    echo "torch is a CPU build: set TORCH_INDEX_URL" >&2
    return 1
  fi
}

# Whether the wanted torch is the one of torch-cuda.txt: nobody has chosen another build or version.
torch_is_locked() {
  [ "$TORCH_BUILD" = cuda ] && [ -z "${TORCH_INDEX_URL:-}" ] \
    && ! compgen -G "deploy/wheels/torch-*.whl" > /dev/null \
    && grep -q "^torch==$TORCH_VERSION " deploy/locks/torch-cuda.txt
}

torch() {
  case $TORCH_BUILD in
    none) return ;;
    cpu | cuda) ;;
    *) echo "TORCH_BUILD must be none, cpu or cuda" >&2 && return 1 ;;
  esac
  install_locked "$1-neural"
  if torch_is_locked; then
    install_locked torch-cuda
  else
    /opt/build/bin/pip --python /opt/visema/bin/python install --quiet --find-links deploy/wheels --only-binary :all: \
      ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch==$TORCH_VERSION"
  fi
  check_torch "$TORCH_BUILD" "$(/opt/visema/bin/python -c "import torch; print(torch.version.cuda or 'cpu')")"
}

packages() {
  /opt/build/bin/pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir /wheels "$@"
  /opt/build/bin/pip --python /opt/visema/bin/python install --quiet --no-deps --no-index /wheels/*.whl
  find /opt/visema/lib -type d -name tests -prune -exec rm -rf {} +
}

"$@"
