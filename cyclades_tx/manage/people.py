"""Commands about users, projects and roles."""

from __future__ import annotations

from typing import Any

import click

from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.manage import secret_input, tables
from cyclades_tx.manage.options import TRUTH, WORD, list_command, output_format
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.store import listings, operator_names
from cyclades_tx.store.listings import Listing
from cyclades_tx.store.operator_lists import PROJECTS, USERS
from cyclades_tx.world import World


def _password_options(function: Any) -> Any:
    function = click.option(
        "--generate-password",
        metavar="FILE",
        help="Make a password and write it to this new file, mode 0600.",
    )(function)
    function = click.option(
        "--password-file", metavar="FILE", help="A file of mode 0600 with the password."
    )(function)
    return click.option(
        "--password-stdin", is_flag=True, help="Read the password from standard input."
    )(function)


@click.command("user-create")
@click.argument("name", type=WORD)
@click.option("--email", type=WORD)
@click.option("--description", type=WORD, default="")
@click.option(
    "--project", type=WORD, help="The project that logins get if they name none, by name or id."
)
@click.option("--role", type=WORD, help="A role to have in it: admin, member or reader.")
@_password_options
@click.option("--no-password", is_flag=True, help="This user cannot log in with a password.")
@output_format
@click.pass_obj
def user_create(
    settings: Settings,
    name: str,
    email: str | None,
    description: str,
    project: str | None,
    role: str | None,
    password_stdin: bool,
    password_file: str | None,
    generate_password: str | None,
    no_password: bool,
    form: str,
) -> None:
    """Make a user; without an option for the password it is asked for."""
    if role is not None and project is None:
        raise click.UsageError("--role needs --project.")
    secret = _secret(password_stdin, password_file, generate_password, no_password, ask=True)

    async def work(world: World) -> dict[str, Any]:
        project_id = None if project is None else await world.people.find_project(project)
        user_id = await world.people.create_user(
            name, secret, description=description, email=email, default_project_id=project_id
        )
        if role is not None and project_id is not None:
            try:
                await world.people.assign_role(user_id, project_id, role)
            except Exception:
                await world.people.delete_user(user_id)
                raise
        return await _shown(world, USERS, user_id)

    try:
        made = settings.run(work)
    except BaseException:
        secret_input.forget(generate_password)
        raise
    tables.show(tables.record(made, form))


@click.command("user-modify")
@click.argument("user", type=WORD)
@click.option("--name", type=WORD)
@click.option("--email", type=WORD)
@click.option("--description", type=WORD)
@click.option("--enabled", type=TRUTH, help="False: cannot log in, and all tokens end.")
@click.option(
    "--project", type=WORD, help="The project that logins get if they name none, by name or id."
)
@_password_options
@click.option("--password-prompt", is_flag=True, help="Ask for a new password.")
@click.option("--no-password", is_flag=True, help="Cannot log in with a password from now on.")
@output_format
@click.pass_obj
def user_modify(
    settings: Settings,
    /,
    user: str,
    project: str | None,
    password_stdin: bool,
    password_file: str | None,
    generate_password: str | None,
    password_prompt: bool,
    no_password: bool,
    form: str,
    **given: Any,
) -> None:
    """Change a user (by name or id); a new password ends the user's tokens."""
    changes = {key: value for key, value in given.items() if value is not None}
    if (
        not changes
        and project is None
        and not (
            password_stdin or password_file or generate_password or password_prompt or no_password
        )
    ):
        raise click.UsageError("Nothing to change was given.")
    secret = _secret(
        password_stdin, password_file, generate_password, no_password, ask=password_prompt
    )
    if secret is not None or no_password:
        changes["password"] = secret

    async def work(world: World) -> dict[str, Any]:
        user_id = await world.people.find_user(user)
        if project is not None:
            changes["default_project_id"] = await world.people.find_project(project)
        await world.people.update_user(user_id, changes)
        return await _shown(world, USERS, user_id)

    try:
        found = settings.run(work)
    except BaseException:
        secret_input.forget(generate_password)
        raise
    tables.show(tables.record(found, form))


@click.command("project-create")
@click.argument("name", type=WORD)
@click.option("--description", type=WORD, default="")
@output_format
@click.pass_obj
def project_create(settings: Settings, name: str, description: str, form: str) -> None:
    """Make a project with the limits of the configuration; see quota-modify."""

    async def work(world: World) -> dict[str, Any]:
        project_id = await world.people.create_project(name, description=description)
        return await _shown(world, PROJECTS, project_id)

    tables.show(tables.record(settings.run(work), form))


def _role_options(function: Any) -> Any:
    function = click.option(
        "--role", required=True, type=WORD, help="admin, member, reader, or one of your own."
    )(function)
    function = click.option("--project", required=True, type=WORD, help="Name or id.")(function)
    return click.option("--user", required=True, type=WORD, help="Name or id.")(function)


@click.command("role-assign")
@_role_options
@click.pass_obj
def role_assign(settings: Settings, user: str, project: str, role: str) -> None:
    """Give a user a role in a project."""

    async def work(world: World) -> None:
        people = world.people
        await people.assign_role(
            await people.find_user(user), await people.find_project(project), role
        )

    settings.run(work)
    click.echo(f"User {user} has the role {role} in project {project}.")


@click.command("role-remove")
@_role_options
@click.pass_obj
def role_remove(settings: Settings, user: str, project: str, role: str) -> None:
    """Take a role in a project from a user."""

    async def work(world: World) -> None:
        people = world.people
        await people.remove_role(
            await people.find_user(user), await people.find_project(project), role
        )

    settings.run(work)
    click.echo(f"User {user} no longer has the role {role} in project {project}.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (user_create, user_modify, project_create, role_assign, role_remove):
        group.add_command(command)
    list_command(group, "user-list", USERS, "List the users, with their roles as role@project.")
    list_command(group, "project-list", PROJECTS, "List the projects.")


async def project_of(world: World, user_id: str, user: str, project: str | None) -> str:
    """The project in which a user is to have something.

    :param user: what the operator called the user.
    :param project: name or id; None: the user's default project, or the only one.
    :raise BadRequest: when that cannot be told.
    :raise Forbidden: when the user has no role in it.
    """
    own = await operator_names.projects_of(world.database, user_id)
    if project is not None:
        project_id = await world.people.find_project(project)
        if all(each.id != project_id for each in own):
            raise Forbidden(f"User {user} has no role in project {project}; see role-assign.")
        return project_id
    usual = [each for each in own if each.usual] or own
    if len(usual) == 1:
        return str(usual[0].id)
    if not own:
        raise Forbidden(f"User {user} has no role in any project; see role-assign.")
    names = ", ".join(each.name for each in own)
    raise BadRequest(f"User {user} has roles in {names}: say which with --project.")


async def in_name_of(world: World, user: str, project: str | None) -> Who:
    """A user with an administrator's rights, in the project that is charged.

    :param user: name or id.
    :param project: see :func:`project_of`.
    """
    user_id = await world.people.find_user(user)
    project_id = await project_of(world, user_id, user, project)
    return Who(user_id, user, project_id, None, frozenset((ADMIN,)))


def _secret(
    from_stdin: bool, from_file: str | None, generate: str | None, none: bool, *, ask: bool
) -> str | None:
    if sum((from_stdin, from_file is not None, generate is not None, none)) > 1:
        raise click.UsageError("Say only once where the password comes from.")
    if none:
        return None
    if generate is not None:
        return secret_input.generate_into(generate)
    return secret_input.get(
        "password", from_stdin=from_stdin, from_file=from_file, prompt=ask, confirm=True
    )


async def _shown(world: World, listing: Listing, ref: str) -> dict[str, Any]:
    return await listings.one(world.database, listing, ref) or {}
