"""A graph: build for each platform, test, ask for a review of what is large, publish. Try it with `aiki dev examples.releases`."""

import msgspec

from aiki.sdk import graph, inputs, item, node, ref, task


class Release(msgspec.Struct):
    """What is to be released, and for which platforms."""

    version: str
    platforms: list[str]


class Build(msgspec.Struct):
    """What one build is made of."""

    version: str
    platform: str


class Artifact(msgspec.Struct):
    """What a build has made; `size` is in bytes."""

    file: str
    size: int


class Publication(msgspec.Struct):
    """What is to be published, and who has looked at it."""

    files: list[Artifact]
    reviewer: str


@task(name="build", local=True)
async def build(order: Build) -> Artifact:
    return Artifact(f"app-{order.version}-{order.platform}.zip", 1000 * len(order.platform))


@task(name="weigh", local=True)
async def weigh(files: list[Artifact]) -> int:
    return sum(file.size for file in files)


@task(name="review", local=True)
async def review(version: str) -> str:
    return f"somebody, of {version}"


@task(name="publish", local=True)
async def publish(what: Publication) -> str:
    return f"{len(what.files)} files, reviewed by {what.reviewer}"


release = graph(
    name="release",
    input=Release,
    returns=str,
    nodes=[
        node("builds", build, each=inputs.platforms, input={"version": inputs.version, "platform": item}, concurrency=4),
        node("size", weigh, input=ref("builds")),
        node("review", review, input=inputs.version, when=ref("size") > 10_000),
        node("publish", publish, input={"files": ref("builds"), "reviewer": ref("review").otherwise("nobody: it is small")}),
    ],
    output=ref("publish"),
)
