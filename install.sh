#!/usr/bin/env bash
# Install packages for a Python, and say what that takes: install.sh PYTHON PIP_ARGUMENT...
#
# TORCH=cuda takes the default build of torch, TORCH=cpu the CPU build, which has a third of the size. Without TORCH it
# is the CPU build where no NVIDIA GPU is found and the package index, or PIP_EXTRA_INDEX_URL, has it. A torchvision
# loads beside a torch of its own build alone: the index must have the CPU builds of both.
set -euo pipefail

python=${1:?usage: install.sh PYTHON PIP_ARGUMENT...}
shift
pip=("$python" -m pip --disable-pip-version-check)
prefix=$(dirname "$(dirname "$python")")

# The pip that a new environment comes with may be years old, and reads an index in three times the time of a new one.
"${pip[@]}" install --quiet --upgrade pip

gpu_found() {
    [[ -e /proc/driver/nvidia/version ]] || nvidia-smi --list-gpus > /dev/null 2>&1
}

cpu_builds() { # versions of a package's CPU builds, the newest first
    "${pip[@]}" index versions "$1" 2> /dev/null | sed -n 's/^Available versions: //p' | grep -o '[0-9.]*+cpu' || true
}

cpu_torch() { # the newest CPU build of torch that constraints allow
    [[ -n $(cpu_builds torchvision) ]] || return 1
    local version
    for version in $(cpu_builds torch); do
        if "${pip[@]}" install --dry-run --no-deps "torch==$version" > /dev/null 2>&1; then
            echo "torch==$version"
            return
        fi
    done
    return 1
}

lacks="the package index has no CPU builds of torch and torchvision"
size="7 GB"
case ${TORCH:-auto} in
auto)
    if gpu_found; then
        echo "A GPU is found: the default build of torch is taken."
    elif build=$(cpu_torch); then
        echo "No GPU is found: the CPU build is taken ($build; TORCH=cuda takes the default one)."
        set -- "$@" "$build"
        size="2.5 GB"
    else
        echo "No GPU is found, but $lacks: the default build is taken."
    fi
    ;;
cpu)
    if ! build=$(cpu_torch); then
        echo "TORCH=cpu: $lacks. Name one that has them in PIP_EXTRA_INDEX_URL, or take TORCH=cuda." >&2
        exit 2
    fi
    set -- "$@" "$build"
    size="2.5 GB"
    ;;
cuda) ;;
*)
    echo "TORCH=$TORCH: give cpu or cuda." >&2
    exit 2
    ;;
esac

before=$(du -sh "$prefix" | cut -f 1)
echo "Installing $* into $prefix, with PyTorch and Ray: about $size, a few minutes."
"${pip[@]}" install --quiet "$@"
echo "$prefix has $(du -sh "$prefix" | cut -f 1), before it had $before."
