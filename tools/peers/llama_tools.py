# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's own programs, from the pinned archive of scripts/fetch, built the way its users build them.

The product's libllama leaves OpenMP and the llamafile kernels out, for reasons of its own; the peer must not pay for
them.
"""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tarfile

from common import cachelib, peers_dir, run_logged, say, script, SetupError, tail

PROGRAMS = ("llama-bench", "llama-batched-bench", "llama-quantize", "llama-server")
FLAGS = """
    CMAKE_BUILD_TYPE=Release BUILD_SHARED_LIBS=OFF GGML_NATIVE=ON GGML_LLAMAFILE=ON GGML_OPENMP=ON
    LLAMA_BUILD_TESTS=OFF LLAMA_BUILD_EXAMPLES=OFF LLAMA_BUILD_APP=OFF LLAMA_BUILD_UI=OFF LLAMA_USE_PREBUILT_UI=OFF
    LLAMA_OPENSSL=OFF LLAMA_CURL=OFF MTMD_VIDEO=OFF LLAMA_BUILD_NUMBER=0 LLAMA_BUILD_COMMIT=pinned
""".split()
LEFT_OUT = (".devops/", ".github/", "docs/", "examples/", "media/", "models/", "tests/")


def unpack(folder: pathlib.Path) -> None:
    fetch = script("fetch")
    archive = cachelib.cache_dir() / "downloads" / fetch.LLAMA["file_name"]
    with cachelib.lock("llama-source"):
        if not cachelib.verified(archive, fetch.LLAMA["sha256"]):
            cachelib.download(**fetch.LLAMA, target=archive)
    prefix = f"llama_cpp_python-{fetch.LLAMA['version']}/vendor/llama.cpp/"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as tar:  # its digest was checked: the members are known
        for member in tar:
            inner = member.name[len(prefix):]
            wanted = member.name.startswith(prefix) and inner and not inner.startswith(LEFT_OUT)
            if wanted and (member.isfile() or member.isdir()):
                member.name = inner
                tar.extract(member, folder, set_attrs=False)


def compile_programs(folder: pathlib.Path, log: pathlib.Path) -> None:
    jobs = os.environ.get("FASTCACHE_JOBS") or str(os.cpu_count() or 1)
    command = ["nice", "-n", "10", "cmake", "--build", folder, "-j", jobs, "--target", *PROGRAMS]
    progress = None
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in process.stdout:
            out.write(line)
            if step := re.match(rb"\[(\d+)/(\d+)\]", line):
                progress = progress or cachelib.Progress("building llama.cpp's programs,", int(step[2]), "steps", 1)
                progress.update(int(step[1]))
    if progress:
        progress.close()
    if process.wait() != 0:
        raise SetupError(f"llama.cpp's programs did not build; the end of {log}:\n{tail(log)}")


def build(building: pathlib.Path, staged: pathlib.Path) -> None:
    llama = script("llama")
    say(f"building llama.cpp's programs once (10 minutes or more) into {staged}; log: {building}/log.txt")
    building.mkdir(parents=True, exist_ok=True)
    source, log = building / "source", building / "log.txt"
    log.unlink(missing_ok=True)
    if not (building / "unpacked").exists():
        unpack(source)
        (building / "unpacked").touch()
    compilers = [f"CMAKE_C_COMPILER={llama.compiler('CC', 'cc')}", f"CMAKE_CXX_COMPILER={llama.compiler('CXX', 'c++')}"]
    run_logged(["cmake", "-S", source, "-B", building / "build", "-G", "Ninja",
                *("-D" + setting for setting in compilers + FLAGS)], log)
    if "Could NOT find OpenMP" in log.read_text(errors="replace"):
        raise SetupError(f"the compiler has no OpenMP, which llama.cpp is built with by default: see {log}")
    compile_programs(building / "build", log)
    temporary = building / "stage"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for program in PROGRAMS:
        shutil.copy2(building / "build/bin" / program, temporary)
    (temporary / "flags.txt").write_text("\n".join(FLAGS) + "\n")
    os.sync()
    staged.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, staged)
    shutil.rmtree(building, ignore_errors=True)


def folder() -> pathlib.Path:
    """Where the programs are; builds them the first time."""
    llama = script("llama")
    version = script("fetch").LLAMA["version"]
    key = hashlib.sha256("\n".join([version, *FLAGS, *PROGRAMS, llama.compiler_and_cpu()]).encode()).hexdigest()[:12]
    name = f"llama-{version}-{key}"
    staged = peers_dir() / name
    if not staged.is_dir():
        with cachelib.lock(f"peers-{name}"):
            if not staged.is_dir():
                build(cachelib.cache_dir() / "building" / f"peers-{name}", staged)
    return staged


def version(programs: pathlib.Path) -> str:
    found = re.search(r"version: (.+)", subprocess.run([programs / "llama-bench", "--version"], text=True,
                                                       capture_output=True).stderr)
    return f"pinned archive {script('fetch').LLAMA['version']}" + (f" ({found[1]})" if found else "")


def model_in_format(programs: pathlib.Path, model: pathlib.Path, kind: str) -> pathlib.Path:
    """The same weights requantised, in the cache. Its name holds a digest of the source file."""
    digest = cachelib.sha256_of(model)[:12]
    target = peers_dir() / "models" / f"{model.stem.removesuffix('-Q4_1')}-{digest}-{kind}.gguf"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with cachelib.lock(f"peers-model-{target.name}"):
            if not target.is_file():
                say(f"requantising {model.name} to {kind}")
                temporary = target.with_name(f".{target.name}.part")
                run_logged([programs / "llama-quantize", "--allow-requantize", model, temporary, kind],
                           target.with_suffix(".log"))
                cachelib.publish(temporary, target)
    return target
