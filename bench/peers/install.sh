#!/bin/sh
# Builds the two peers for this machine, each in its own virtual environment: DIR/llama_cpp and DIR/ik_llama_cpp.
#
# usage: install.sh DIR [JOBS]      PYTHON=python3.11 chooses the interpreter
#
# Both are compiled from source with the machine's own instruction set (GGML_NATIVE), as Lair chooses its kernels by the
# machine: 15 to 30 minutes on two cores. An environment that already holds the pinned version is left as it is.
# Needs: a C and C++ compiler, Python 3.10 or newer.
set -eu

LLAMA_CPP=0.3.36
IK_LLAMA_CPP=0.1.5

[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
export CMAKE_BUILD_PARALLEL_LEVEL="${2:-$(nproc)}"

# has ENVIRONMENT PACKAGE VERSION: whether the environment holds that package in that version.
has() {
    [ -x "$1/bin/python" ] && "$1/bin/python" -c "
import sys
from importlib.metadata import version
sys.exit(version('$2') != '$3')" 2>/dev/null
}

# environment PATH: a new virtual environment with what the builds need.
environment() {
    "${PYTHON:-python3}" -m venv "$1"
    "$1/bin/pip" install -q 'cmake>=3.26' ninja 'scikit-build-core>=0.10' 'numpy>=1.24' gguf==0.19.0
}

install_llama_cpp() {
    environment "$dir/llama_cpp"
    CMAKE_ARGS="-DGGML_NATIVE=ON" \
        "$dir/llama_cpp/bin/pip" install -q --no-binary llama-cpp-python "llama-cpp-python==$LLAMA_CPP"
}

# Only the library is built: the package also compiles ik_llama.cpp's quantizing program and the code it shares with the
# other programs, which takes longer than half of the library, and cannot do so without a script that the source package lacks
# (common/cmake/build-info-gen-cpp.cmake). All key/value types of the attention kernels (GGML_IQK_FA_ALL_QUANTS) would add
# several minutes of compiling for caches in types that nothing here measures.
install_ik_llama_cpp() {
    environment "$dir/ik_llama_cpp"
    source="$dir/ik_source"
    rm -rf "$source"
    "$dir/ik_llama_cpp/bin/pip" download -q --no-deps --no-build-isolation --no-binary ik-llama-cpp-python \
        -d "$source" "ik-llama-cpp-python==$IK_LLAMA_CPP"
    tar -xzf "$source"/*.tar.gz -C "$source" --strip-components=1
    rm "$source"/*.tar.gz
    sed -i '/^add_subdirectory(common)/d; /^add_subdirectory(vendor\/cpp-httplib)/d' "$source/vendor/ik_llama.cpp/CMakeLists.txt"
    sed -i '/examples\/quantize/d; /^install(/{:a;N;/\n)/!ba;/llama-quantize/d}' "$source/CMakeLists.txt"
    # The two libraries lie side by side in the package; without a run path one does not find the other.
    CMAKE_ARGS='-DGGML_NATIVE=ON -DGGML_IQK_FA_ALL_QUANTS=OFF -DGGML_CCACHE=OFF -DCMAKE_INSTALL_RPATH=$ORIGIN' \
        "$dir/ik_llama_cpp/bin/pip" install -q --no-deps --no-build-isolation "$source"
    rm -rf "$source"
}

has "$dir/llama_cpp" llama-cpp-python "$LLAMA_CPP" || install_llama_cpp
has "$dir/ik_llama_cpp" ik-llama-cpp-python "$IK_LLAMA_CPP" || install_ik_llama_cpp
"$dir/llama_cpp/bin/python" -c "import llama_cpp; print('llama.cpp', llama_cpp.__version__)"
"$dir/ik_llama_cpp/bin/python" -c "
from importlib.metadata import version
import ik_llama_cpp._ctypes_api
print('ik_llama.cpp', version('ik-llama-cpp-python'))"
