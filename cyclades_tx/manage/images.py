"""Commands about images."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import NotFound
from cyclades_tx.flows.image_members import ImageMembers
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import PAIRS, TRUTH, WORD, list_command, output_format, words
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model.image import CONTAINER_FORMATS, DISK_FORMATS, VISIBILITIES
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.store import operator_names
from cyclades_tx.store.operator_lists import IMAGES
from cyclades_tx.world import World


def _sizes(function: Any) -> Any:
    function = click.option(
        "--size",
        "size_bytes",
        type=click.IntRange(0, 2**63 - 1),
        help="How large it is, in bytes, for users to see.",
    )(function)
    function = click.option(
        "--min-disk",
        "min_disk_gib",
        type=click.IntRange(0, 2**31 - 1),
        help="The smallest disk that it fits on, in GiB.",
    )(function)
    return click.option(
        "--min-ram",
        "min_memory_mib",
        type=click.IntRange(0, 2**31 - 1),
        help="The least memory that it needs, in MiB.",
    )(function)


@click.command("image-register")
@click.option("--name", required=True, type=WORD)
@click.option(
    "--location",
    required=True,
    type=WORD,
    help="What Ganeti's OS definition gets as img_id; users never see it.",
)
@click.option(
    "--disk-format", type=click.Choice(DISK_FORMATS), default="diskdump", show_default=True
)
@click.option(
    "--container-format", type=click.Choice(CONTAINER_FORMATS), default="bare", show_default=True
)
@click.option("--visibility", type=click.Choice(VISIBILITIES), default="public", show_default=True)
@click.option(
    "--project", type=WORD, help="The project that owns it, by name or id; none: the operator."
)
@_sizes
@click.option("--properties", type=PAIRS, help="Such as osfamily=linux,os=debian")
@click.option("--tags", type=WORD, metavar="tag,…")
@click.option("--protected", type=TRUTH, default=False, show_default=True)
@click.option("--hidden", type=TRUTH, default=False, show_default=True)
@output_format
@click.pass_obj
def register(
    settings: Settings, /, project: str | None, tags: str | None, form: str, **given: Any
) -> None:
    """Make an image known that the clusters can reach already; it is active at once."""
    columns = {name: value for name, value in given.items() if value is not None}

    async def work(world: World) -> dict[str, Any]:
        who = None
        if project is not None:
            project_id = await world.people.find_project(project)
            # The image is the project's; which user registered it is not known.
            who = Who("0" * 32, "snf-manage", project_id, None, frozenset((ADMIN,)))
        return _shown(await world.images.register(who, tags=words(tags), **columns))

    tables.show(tables.record(settings.run(work), form))


@click.command("image-show")
@click.argument("image", type=WORD)
@output_format
@click.pass_obj
def show(settings: Settings, image: str, form: str) -> None:
    """Show an image (by UUID, id or name)."""

    async def work(world: World) -> dict[str, Any]:
        return _shown(await world.images.show(None, await find(world, image)))

    tables.show(tables.record(settings.run(work), form))


@click.command("image-modify")
@click.argument("image", type=WORD)
@click.option("--name", type=WORD)
@click.option("--location", type=WORD)
@click.option("--disk-format", type=click.Choice(DISK_FORMATS))
@click.option("--container-format", type=click.Choice(CONTAINER_FORMATS))
@click.option("--visibility", type=click.Choice(VISIBILITIES))
@click.option(
    "--status",
    type=click.Choice(("active", "deactivated")),
    help="deactivated: no new servers from it.",
)
@_sizes
@click.option("--properties", type=PAIRS, help="All properties that it has from now on.")
@click.option("--tags", type=WORD, metavar="tag,…", help="All tags that it has from now on.")
@click.option("--protected", type=TRUTH)
@click.option("--hidden", type=TRUTH)
@output_format
@click.pass_obj
def modify(settings: Settings, /, image: str, tags: str | None, form: str, **given: Any) -> None:
    """Change an image (by UUID, id or name)."""
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes and tags is None:
        raise click.UsageError("Nothing to change was given.")

    async def work(world: World) -> dict[str, Any]:
        uuid = await find(world, image)
        return _shown(
            await world.images.modify(uuid, tags=None if tags is None else words(tags), **changes)
        )

    tables.show(tables.record(settings.run(work), form))


@click.command("image-remove")
@click.argument("image", type=WORD)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(settings: Settings, image: str, force: bool) -> None:
    """Forget an image (by UUID, id or name); servers made from it stay."""
    if not force:
        click.confirm(f"Remove image {image}?", abort=True, err=True)

    async def work(world: World) -> str:
        uuid = await find(world, image)
        await world.images.delete(None, uuid)
        return uuid

    click.echo(f"Image {settings.run(work)} was removed.")


@click.command("image-share")
@click.argument("image", type=WORD)
@click.option("--project", required=True, type=WORD, help="With which, by name or id.")
@click.option("--accepted", is_flag=True, help="Have it in the project's lists at once.")
@click.pass_obj
def share(settings: Settings, image: str, project: str, accepted: bool) -> None:
    """Share an image (by UUID, id or name), whose visibility is shared, with a project."""

    async def work(world: World) -> str:
        project_id = await world.people.find_project(project)
        await ImageMembers(world.database).add(
            None, await find(world, image), project_id, "accepted" if accepted else "pending"
        )
        return project_id

    click.echo(f"Image {image} is shared with project {settings.run(work)}.")


@click.command("image-unshare")
@click.argument("image", type=WORD)
@click.option("--project", required=True, type=WORD, help="With which, by name or id.")
@click.pass_obj
def unshare(settings: Settings, image: str, project: str) -> None:
    """Share an image (by UUID, id or name) with a project no longer; its servers stay."""

    async def work(world: World) -> str:
        project_id = await world.people.find_project(project)
        await ImageMembers(world.database).remove(None, await find(world, image), project_id)
        return project_id

    click.echo(f"Image {image} is not shared with project {settings.run(work)} any more.")


@click.command("image-members")
@click.argument("image", type=WORD)
@output_format
@click.pass_obj
def list_members(settings: Settings, image: str, form: str) -> None:
    """List the projects that an image (by UUID, id or name) is shared with."""

    async def work(world: World) -> list[tuple[str, ...]]:
        members = await ImageMembers(world.database).everyone(await find(world, image))
        return [(row.name, row.project_id, row.status) for row in members]

    tables.show(tables.table(("project", "project.id", "status"), settings.run(work), form))


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (register, show, modify, remove, share, unshare, list_members):
        group.add_command(command)
    project = click.Option(["--project"], type=WORD, help="Only those of this project.")
    public = click.Option(["--public"], is_flag=True, help="Only the public ones.")
    list_command(
        group,
        "image-list",
        IMAGES,
        "List the images.",
        ((project, "project", None), (public, "visibility", "public")),
    )


async def find(world: World, ref: str) -> str:
    """The UUID of an image by UUID, id or name.

    :raise NotFound: when there is none, or several have the name.
    """
    found = await operator_names.images(world.database, ref)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(f"There is no image {ref[:80]!r}; see image-list.", "image")
    raise NotFound(f"{len(found)} images are named {ref[:80]!r}: give a UUID.", "image")


def _shown(row: Any) -> dict[str, Any]:
    return {**row._asdict(), "tags": tuple(row.tags)}
