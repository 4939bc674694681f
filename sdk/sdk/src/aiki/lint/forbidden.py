"""Names that workflow code must not use, by rule. `*` stands for anything behind the dot."""

__all__ = ["rule_of_call", "rule_of_reference"]

CALLS = {
    "clock": """time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns time.process_time
        time.process_time_ns time.thread_time time.clock_gettime datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today
        datetime.date.today django.utils.timezone.now pandas.Timestamp.now""",
    "sleep": "time.sleep",
    "random": """random.* uuid.uuid1 uuid.uuid4 uuid.uuid6 uuid.uuid7 secrets.* os.urandom os.getrandom numpy.random.* ulid.*""",
    "environment": "os.getenv os.getenvb os.putenv os.unsetenv os.getcwd os.uname os.cpu_count platform.* getpass.* locale.getlocale",
    "process": "id hash os.getpid os.getppid threading.get_ident",
    "files": """open io.open input os.open os.read os.write os.remove os.unlink os.rename os.replace os.mkdir os.makedirs os.rmdir
        os.removedirs os.listdir os.scandir os.walk os.stat os.chmod os.access os.link os.symlink os.path.exists os.path.isfile
        os.path.isdir os.path.getsize os.path.getmtime os.path.realpath shutil.* tempfile.* glob.* fileinput.* sqlite3.* aiofiles.*
        pathlib.Path.cwd pathlib.Path.home zipfile.* tarfile.*""",
    "network": """requests.* httpx.* aiohttp.* urllib.request.* urllib3.* http.client.* socket.* ssl.* ftplib.* smtplib.* imaplib.* poplib.*
        telnetlib.* websockets.* xmlrpc.client.* nats.* redis.* psycopg.* psycopg2.* asyncpg.* pymongo.* boto3.* sqlalchemy.create_engine
        asyncio.open_connection asyncio.open_unix_connection asyncio.start_server asyncio.start_unix_server""",
    "threads": """threading.* subprocess.* multiprocessing.* concurrent.futures.* asyncio.to_thread asyncio.create_subprocess_exec
        asyncio.create_subprocess_shell asyncio.run asyncio.run_coroutine_threadsafe asyncio.new_event_loop os.system os.popen os.fork
        os.execv os.execve os.spawnv os.posix_spawn os.kill signal.* anyio.to_thread.* anyio.run_process""",
}
REFERENCES = {"environment": "os.environ os.environb sys.argv sys.platform sys.flags"}

HARMLESS = frozenset(
    [
        "threading.current_thread",
        "asyncio.TimeoutError",
        "concurrent.futures.TimeoutError",
        "socket.inet_aton",
        "socket.inet_ntoa",
        "ssl.SSLError",
        "uuid.UUID",
        "http.client.responses",
    ]
)


def _table(names: dict[str, str]) -> dict[str, str]:
    return {name: rule for rule, listed in names.items() for name in listed.split()}


_CALLS, _REFERENCES = _table(CALLS), _table(REFERENCES)


def rule_of_call(name: str, *, has_arguments: bool) -> str | None:
    """The rule that a call of this function breaks."""
    if name in HARMLESS or _is_error(name):
        return None
    if name in ("time.localtime", "time.gmtime", "time.ctime", "time.strftime", "time.asctime"):
        return None if has_arguments and name != "time.strftime" else "clock"
    if name == "random.Random" and has_arguments:  # it has a seed
        return None
    return _find(_CALLS, name)


def rule_of_reference(name: str) -> str | None:
    """The rule that is broken by looking at this, called or not."""
    return _REFERENCES.get(name)


def _find(table: dict[str, str], name: str) -> str | None:
    if name in table:
        return table[name]
    while "." in name:
        name = name.rpartition(".")[0]
        if f"{name}.*" in table:
            return table[f"{name}.*"]
    return None


def _is_error(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "." in name and last[:1].isupper() and last.endswith(("Error", "Exception", "Timeout"))
