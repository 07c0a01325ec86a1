# SPDX-License-Identifier: Apache-2.0
"""The per-user cache: where it is, locks, verified downloads. Used by scripts/fetch and scripts/llama.

Rule: a name that others look for appears by rename only, after everything behind it was checked.
"""
import contextlib
import fcntl
import hashlib
import html.parser
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile


class SetupError(Exception):
    """What went wrong, in one sentence for the user."""


def cache_dir() -> pathlib.Path:
    if os.environ.get("FASTCACHE_CACHE"):
        return pathlib.Path(os.environ["FASTCACHE_CACHE"]).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base).absolute() / "fastcache"


def say(text: str) -> None:
    print(f"fastcache set-up: {text}", file=sys.stderr, flush=True)


class Progress:
    """One moving line on a terminal, a line per quarter elsewhere."""

    def __init__(self, label: str, total: int, unit: str = "MB", scale: int = 1_000_000):
        self.label, self.total, self.unit, self.scale = label, max(total, 1), unit, scale
        self.tty, self.last_time, self.last_quarter = sys.stderr.isatty(), 0.0, -1

    def update(self, done: int) -> None:
        text = f"{self.label} {done // self.scale} of {self.total // self.scale} {self.unit}"
        if self.tty:
            if time.monotonic() - self.last_time > 0.2 or done >= self.total:
                print(f"\r\033[Kfastcache set-up: {text}", end="", file=sys.stderr, flush=True)
                self.last_time = time.monotonic()
        elif (quarter := 4 * done // self.total) > self.last_quarter:
            self.last_quarter = quarter
            say(text)

    def close(self) -> None:
        if self.tty and self.last_time:
            print(file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(name: str):
    """Held by one process at a time; a killed holder lets go."""
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another set-up works on {name}, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sha256_of(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verified(path: pathlib.Path, sha256: str) -> bool:
    """True if the file has this digest. Hashed once; later only size and time are compared with the note beside it."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    note = path.with_name("." + path.name + ".verified")
    wanted = f"{sha256} {stat.st_size} {stat.st_mtime_ns}"
    if note.exists() and note.read_text() == wanted:
        return True
    if sha256_of(path) != sha256:
        return False
    temporary = note.with_name(f"{note.name}.{os.getpid()}")
    temporary.write_text(wanted)
    os.replace(temporary, note)
    return True


def publish(temporary: pathlib.Path, final: pathlib.Path) -> None:
    """Onto disk first, then the name: a power cut leaves the old state or the new one."""
    if temporary.is_file():
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
    os.replace(temporary, final)


def pip_setting(name: str) -> str:
    result = subprocess.run([sys.executable, "-m", "pip", "config", "get", f"global.{name}"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def index_url() -> str:
    url = os.environ.get("PIP_INDEX_URL") or pip_setting("index-url")
    if not url:
        from pip._internal.models.index import PyPI  # pip's own default
        url = PyPI.simple_url
    return url.rstrip("/")


def ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    certificates = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or pip_setting("cert")
    if certificates and os.path.isfile(certificates):
        context.load_verify_locations(certificates)
    return context


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found += [value for name, value in attributes if name == "href" and value]


def find_link(project: str, file_name: str, context: ssl.SSLContext) -> str:
    page = f"{index_url()}/{project}/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+html, text/html"})
    with urllib.request.urlopen(request, timeout=60, context=context) as reply:
        links = Links()
        links.feed(reply.read().decode("utf-8", "replace"))
        base = reply.geturl()
    for link in links.found:
        url = urllib.parse.urljoin(base, link)
        if urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1] == file_name:
            return urllib.parse.urldefrag(url).url
    raise SetupError(f"the package index lists no {file_name}")


def fetch_directly(project: str, file_name: str, target: pathlib.Path) -> None:
    context = ssl_context()
    url = find_link(project, file_name, context)
    with urllib.request.urlopen(url, timeout=60, context=context) as reply, open(target, "wb") as out:
        total, done = int(reply.headers.get("Content-Length") or 0), 0
        progress = Progress(f"downloading {file_name}", total)
        while block := reply.read(1 << 18):
            out.write(block)
            done += len(block)
            progress.update(done)
        progress.close()
    if total and done != total:
        raise SetupError(f"{file_name} ended after {done} of {total} bytes")


def fetch_by_pip(project: str, version: str, file_name: str, target: pathlib.Path) -> None:
    """Slower (for a source archive pip runs its metadata step), but knows every setting of pip."""
    say(f"asking pip for {file_name}")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source = ["--no-binary", project] if file_name.endswith(".tar.gz") else []
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--no-deps", *source,
                        "--dest", folder, f"{project}=={version}"], stdout=sys.stderr, check=True)
        shutil.move(os.path.join(folder, file_name), target)


def download(project: str, version: str, file_name: str, sha256: str, target: pathlib.Path) -> None:
    """Puts the package file at `target`, checked. The caller holds a lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.part*"):
        leftover.unlink()
    temporary = target.with_name(f".{target.name}.part")
    reasons = []
    for attempt in (fetch_directly, fetch_directly, fetch_by_pip):
        try:
            if attempt is fetch_by_pip:
                fetch_by_pip(project, version, file_name, temporary)
            else:
                fetch_directly(project, file_name, temporary)
        except (OSError, ValueError, ImportError, SetupError, subprocess.CalledProcessError) as error:
            reasons.append(str(error))
            continue
        actual = sha256_of(temporary)
        if actual == sha256:
            publish(temporary, target)
            verified(target, sha256)
            return
        reasons.append(f"its sha256 is {actual}, expected {sha256}")
        temporary.unlink()
    temporary.unlink(missing_ok=True)
    raise SetupError(f"could not download {file_name} of {project} {version}: {'; '.join(dict.fromkeys(reasons))}")


def unzip_member(archive: pathlib.Path, member: str, sha256: str, target: pathlib.Path) -> None:
    temporary = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source, open(temporary, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    if (actual := sha256_of(temporary)) != sha256:
        temporary.unlink()
        raise SetupError(f"{member}: sha256 is {actual}, expected {sha256}")
    publish(temporary, target)
    verified(target, sha256)


def run_main(main) -> None:
    try:
        main()
    except SetupError as error:
        sys.exit(f"fastcache set-up: {error}")
    except KeyboardInterrupt:
        sys.exit("fastcache set-up: stopped; the next start goes on from here")
