"""Where things are in JetStream: the names of streams, subjects and keys of one region, in one place.

    state     KV bucket aiki-runs-<region>         key <run id>, sealed journal segments <run id>.s<end>
    mail      stream AIKI_MAIL_<region>            aiki.<region>.mail.<kind>.<name>.<version>.<id>[.start|.word], alarms
                                                   aiki.<region>.timer.<id>.<n>, those of schedules aiki.<region>.timer.schedule.<id>.<n>
                                                   runs that wait for an archiver aiki.<region>.mail.archive.<run id>
    tasks     stream AIKI_TASK_<region>            aiki.<region>.task.<queue>.<task>.<run id>.<n>, delayed ones
                                                   aiki.<region>.delay.<run id>.<n>; those that have passed a gate are
                                                   aiki.<region>.task.<queue>.<task>.<run id>.<n>.<place: priority, group, age>
              the waiting room of a gate           aiki.<region>.wait.<queue>.<task>.<place>.<run id>.<n>
              the baton of its keeper              aiki.<region>.gate.<queue>.<task>.baton
    gates     KV bucket aiki-gates-<region>        key <queue>.<task>; line.<workflow>.<key>: the runs of a workflow with a
                                                   limit; debounce.<workflow>.<key>: calls that become one run
    schedules KV bucket aiki-schedules-<region>    key <schedule id>; its mailbox is aiki.<region>.mail.schedule.<schedule id>
    actors    KV bucket aiki-actors-<region>       key <type>.<id>; mailbox aiki.<region>.mail.actor.<type>.<id>.<call>, reminders
                                                   aiki.<region>.timer.actor.<type>.<id>.<name>
    secrets   KV bucket aiki-secrets-<region>      key webhooks: what signs their URLs
    workers   KV bucket aiki-workers-<region>      key <worker id>, expires; queue.<queue>, the mark of a paused one;
                                                   version.<workflow>.<version>, that of a retired one
    dead      KV bucket aiki-dead-<region>         key letter.<id>; kept.<id>.<n>, its messages; taken.<run id>.<n or "run">, expires: who
                                                   has taken up what was handed out before
                                                   measured.<kind>.<name>.<day>, what workers have measured, expires
    cache     KV bucket aiki-cache-<region>        key <task>.<hash>: a result that runs share, expires
    beats     KV bucket aiki-beats-<region>        key <run id>.<n>: the last heartbeat of a dispatch; in memory, expires

Core subjects: aiki.<region>.host.<host id> (the warm path), aiki.<region>.client.<client id> (ends of runs and answers, to who asked),
aiki.<region>.live.<run id> (each commit of a run, republished by the server), aiki.<region>.withdrawn.<run id> (dispatches that are taken
back, to who runs them: a MessagePack list of their serials, empty for all of that run's), aiki.<region>.nudge.<queue>.<task> (what has come
to a gate, or left what is behind it, to its keeper), aiki.<region>.query.<workflow>.<version> (queries of runs that no host has in
memory) and aiki.<region>.forgotten (invalidations of cached results, to all hosts).
"""

import hashlib

from aiki.types.errors import InvalidName
from aiki.types.names import check_name, to_token

__all__ = ["ARCHIVE_CONSUMER", "SCHEDULE_CONSUMER", "Subjects"]

SCHEDULE_CONSUMER = "schedules"
"""The durable consumer of the mailboxes of all schedules."""

ARCHIVE_CONSUMER = "archive"
"""The durable consumer of the runs that wait for an archiver."""


MAX_RESOURCE_NAME = 255
"""Characters of a stream's or consumer's name that the server takes."""
MAX_REGION_TOKEN = 200


class Subjects:
    """The names of one region."""

    def __init__(self, region: str) -> None:
        self.region = check_name(region, "region")
        token = to_token(region)
        if len(token) > MAX_REGION_TOKEN:
            raise InvalidName(
                f"{region!r} cannot be the name of a region: encoded for NATS it has {len(token)} characters, over {MAX_REGION_TOKEN}",
                name=region,
                what="region",
                reason="too long when encoded",
            )
        root = f"aiki.{token}"
        self.runs_stream = f"KV_aiki-runs-{token}"
        self.mail_stream = f"AIKI_MAIL_{token}"
        self.task_stream = f"AIKI_TASK_{token}"
        self.schedules_stream = f"KV_aiki-schedules-{token}"
        self.gates_stream = f"KV_aiki-gates-{token}"
        self.actors_stream = f"KV_aiki-actors-{token}"
        self.secrets_stream = f"KV_aiki-secrets-{token}"
        self.workers_stream = f"KV_aiki-workers-{token}"
        self.beats_stream = f"KV_aiki-beats-{token}"
        self.dead_stream = f"KV_aiki-dead-{token}"
        self.cache_stream = f"KV_aiki-cache-{token}"
        self.blobs_stream = f"KV_aiki-blobs-{token}"
        self.runs_prefix = f"$KV.aiki-runs-{token}."
        self.schedules_prefix = f"$KV.aiki-schedules-{token}."
        self.gates_prefix = f"$KV.aiki-gates-{token}."
        self.actors_prefix = f"$KV.aiki-actors-{token}."
        self.secrets_prefix = f"$KV.aiki-secrets-{token}."
        self.workers_prefix = f"$KV.aiki-workers-{token}."
        self.beats_prefix = f"$KV.aiki-beats-{token}."
        self.dead_prefix = f"$KV.aiki-dead-{token}."
        self.cache_prefix = f"$KV.aiki-cache-{token}."
        self.blobs_prefix = f"$KV.aiki-blobs-{token}."
        self.mail_prefix = f"{root}.mail."
        self.timer_prefix = f"{root}.timer."
        self.task_prefix = f"{root}.task."
        self.delay_prefix = f"{root}.delay."
        self.wait_prefix = f"{root}.wait."
        self.gate_prefix = f"{root}.gate."
        self.nudge_prefix = f"{root}.nudge."
        self.host_prefix = f"{root}.host."
        self.client_prefix = f"{root}.client."
        self.live_prefix = f"{root}.live."
        self.withdrawn_prefix = f"{root}.withdrawn."
        self.query_prefix = f"{root}.query."
        self.forgotten = f"{root}.forgotten"

    def run_mail(self, workflow: str, version: str) -> str:
        """The common part, up to the run id, of the mailboxes of all runs of a workflow's version."""
        return f"{self.mail_prefix}run.{to_token(workflow)}.{to_token(version)}."

    def run_start(self, workflow: str, version: str, run_id: str) -> str:
        """Where a start waits for a worker."""
        return f"{self.run_mail(workflow, version)}{run_id}.start"

    def run_words(self, workflow: str, version: str, run_id: str) -> str:
        """Where what is asked of a run waits."""
        return f"{self.run_mail(workflow, version)}{run_id}.word"

    def run_query(self, workflow: str, version: str) -> str:
        """Where any host answers queries of a workflow's version."""
        return f"{self.query_prefix}{to_token(workflow)}.{to_token(version)}"

    def delayed_start(self, run_id: str) -> str:
        """The schedule of a start that waits for its instant."""
        return f"{self.timer_prefix}{run_id}.start"

    def run_consumer(self, workflow: str, version: str) -> str:
        """The durable consumer of those mailboxes."""
        return _consumer("run", to_token(workflow), to_token(version))

    @property
    def schedule_mail(self) -> str:
        """The common part, up to the schedule's id, of the mailboxes of all schedules."""
        return f"{self.mail_prefix}schedule."

    @property
    def archive_mail(self) -> str:
        """The common part, up to the run's id, of where runs that have ended wait for an archiver."""
        return f"{self.mail_prefix}archive."

    def schedule_alarms(self, schedule_id: str) -> str:
        """The common part, up to its number, of the alarms of a schedule. One token more than a run's, whatever the id."""
        return f"{self.timer_prefix}schedule.{to_token(schedule_id)}."

    @staticmethod
    def actor_key(type: str, id: str) -> str:
        """The key of an entity actor: two tokens, the part of all its subjects that is its own."""
        return f"{to_token(type)}.{to_token(id)}"

    def actor_mail(self, type: str) -> str:
        """The common part, up to the actor's id, of the mailboxes of all actors of a type."""
        return f"{self.mail_prefix}actor.{to_token(type)}."

    def actor_mailbox(self, key: str) -> str:
        """The common part, up to the call's name, of the mailbox of one actor."""
        return f"{self.mail_prefix}actor.{key}."

    def actor_consumer(self, type: str) -> str:
        """The durable consumer of the mailboxes of a type."""
        return _consumer("actor", to_token(type), "")

    def actor_reminder(self, key: str, name: str) -> str:
        """The schedule of an actor's reminder. Two tokens more than a schedule's alarm has, whatever the names."""
        return f"{self.timer_prefix}actor.{key}.{to_token(name)}"

    def task_mail(self, queue: str, task: str) -> str:
        """The common part, up to the run id, of the subjects of a task's dispatches in a queue."""
        return f"{self.task_prefix}{to_token(queue)}.{to_token(task)}."

    def before_gate(self, subject: str) -> str:
        """Where a dispatch goes that is to pass its gate (again), from where it was after it; any other subject as it is."""
        tokens = subject.removeprefix(self.task_prefix).split(".")
        behind = subject.startswith(self.task_prefix) and len(tokens) == 7
        return self.task_prefix + ".".join(tokens[:4]) if behind else subject

    @property
    def queue_mark_prefix(self) -> str:
        """The common part of the keys of the marks of paused queues, in the workers' bucket. One token more than a worker's."""
        return f"{self.workers_prefix}queue."

    def queue_mark(self, queue: str) -> str:
        """The key of a queue's mark."""
        return self.queue_mark_prefix + to_token(queue)

    @property
    def version_mark_prefix(self) -> str:
        """The common part of the keys of the marks of retired versions, in the workers' bucket. Two tokens more than a worker's."""
        return f"{self.workers_prefix}version."

    def version_mark(self, workflow: str, version: str) -> str:
        """The key of the mark of a workflow's version."""
        return f"{self.version_mark_prefix}{to_token(workflow)}.{to_token(version)}"

    @property
    def letter_prefix(self) -> str:
        """The common part of the keys of dead letters."""
        return f"{self.dead_prefix}letter."

    @property
    def kept_prefix(self) -> str:
        """The common part, up to the letter's id, of the keys of the messages that belong to dead letters."""
        return f"{self.dead_prefix}kept."

    def taken(self, run_id: str, what: int | None = None) -> str:
        """The key of the evidence about a dispatch (by its serial), or about the run itself."""
        return f"{self.dead_prefix}taken.{run_id}.{'run' if what is None else what}"

    def task_consumer(self, queue: str, task: str) -> str:
        """The durable consumer of those dispatches."""
        return _consumer("task", to_token(queue), to_token(task))

    @staticmethod
    def gate_key(queue: str, task: str) -> str:
        """The key of a task's gate in a queue: two tokens."""
        return f"{to_token(queue)}.{to_token(task)}"

    @staticmethod
    def line_key(workflow: str, key: str) -> str:
        """The key of a line: of a workflow's runs, or (`key`, a token) of some of them. Three tokens, one more than a gate's."""
        return f"line.{to_token(workflow)}.{key}"

    @staticmethod
    def gathering_key(workflow: str, key: str) -> str:
        """The key of the calls that are gathered into one start. Three tokens too."""
        return f"debounce.{to_token(workflow)}.{key}"

    def waiting_room(self, gate: str) -> str:
        """The common part, up to the place, of the subjects of what waits at a gate. `gate` is its key, here and below."""
        return f"{self.wait_prefix}{gate}."

    def gate_mail(self, gate: str) -> str:
        """The common part of what a keeper pulls: its baton."""
        return f"{self.gate_prefix}{gate}."

    def baton(self, gate: str) -> str:
        """The subject of the message whose holder keeps the gate."""
        return f"{self.gate_prefix}{gate}.baton"

    def baton_guard(self, gate: str) -> str:
        """The schedule that brings the baton back if its holder dies while it puts it down. Two tokens more than a delayed dispatch has."""
        return f"{self.delay_prefix}gate.{gate}.baton"

    def gate_consumer(self, queue: str, task: str) -> str:
        """The durable consumer of the baton."""
        return _consumer("gate", to_token(queue), to_token(task))


def _consumer(kind: str, first: str, second: str) -> str:
    """A name that no other pair has: names may hold dashes, so these cannot separate them."""
    name = f"{kind}-{first}~~{second}".replace("=", "~")
    if len(name) <= MAX_RESOURCE_NAME:
        return name
    digest = hashlib.sha256(f"{first}.{second}".encode()).hexdigest()[:32]
    return f"{kind}~~~{name[len(kind) + 1 : len(kind) + 101]}~~~{digest}"
