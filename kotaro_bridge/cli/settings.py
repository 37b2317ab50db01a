"""The command `settings`: what the application's settings are, and changes to them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kotaro_bridge.app.this_pc import setting_for
from kotaro_bridge.cli.print import explain, print_json
from kotaro_bridge.cli.session import Json, session
from kotaro_bridge.domain.settings import START_AT_LOGIN, SYSTEM, LoginStart, SettingValue, as_table, parse_change
from kotaro_bridge.host.settings_store import SettingsStore
from kotaro_bridge.service.app_settings import AppSettings
from kotaro_bridge.service.owner_desk import problem_document

settings_cli = typer.Typer(help="The settings of Kotaro Bridge itself.", invoke_without_command=True)


@settings_cli.callback()
def settings(context: typer.Context, as_json: Json = False) -> None:
    """The settings of Kotaro Bridge itself; without a command they are listed."""
    if context.invoked_subcommand is None:
        _print(as_json)


@settings_cli.command("list")
def list_settings(as_json: Json = False) -> None:
    """What is set, and where."""
    _print(as_json)


@settings_cli.command("set")
def set_settings(
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="language=ja, start_at_login=true …")],
    as_json: Json = False,
) -> None:
    """Change settings, all of them or none: language (system, en, ja), theme (system, light, dark), check_updates,
    start_at_login.
    """
    wanted: dict[str, SettingValue] = dict(map(parse_change, changes))
    _desk().change_all(wanted)
    _print(as_json)
    if not as_json and not wanted.keys().isdisjoint(("language", "theme")):
        typer.echo(session.texts.text("cli.settings.next_start"))


def _desk() -> AppSettings:
    setting = setting_for(session.scenario)
    try:
        return AppSettings(SettingsStore(setting.paths.settings_file), setting.login)
    finally:
        setting.close()


def _print(as_json: bool) -> None:
    desk = _desk()
    opened, login = desk.read(), desk.at_login()
    file = str(session.paths.settings_file)
    table = as_table(opened.settings)
    if as_json:
        document: dict[str, Any] = {
            **table,
            START_AT_LOGIN: login.enabled,
            "switched_off": login.switched_off,
            "elsewhere": login.elsewhere,
            "file": file,
            "problems": [problem_document(each) for each in opened.problems],
        }
        print_json(document)
    for each in opened.problems:
        explain(session.texts, each)
    if as_json:
        return
    text = session.texts.text
    for key, value in table.items():
        typer.echo(text("cli.settings.line", key=key, value=_word(value)))
    for line in _login_lines(login):
        typer.echo(line)
    typer.echo(text("cli.settings.file", path=file))


def _login_lines(login: LoginStart) -> list[str]:
    text = session.texts.text
    if login.enabled is None:
        return [text("cli.settings.no_login")]
    lines = [text("cli.settings.line", key=START_AT_LOGIN, value=_word(login.enabled))]
    if login.switched_off:
        lines.append(text("cli.settings.switched_off"))
    if login.elsewhere:
        lines.append(text("cli.settings.elsewhere", command=login.elsewhere))
    return lines


def _word(value: SettingValue) -> str:
    return str(value).lower() if isinstance(value, bool) else value or SYSTEM
